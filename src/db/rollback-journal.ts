import fs from 'node:fs'
import { journalRecords, readJournalHeader, superJournalName } from '../sqlite/journal.js'
import type { BackingFile } from './backing-file.js'
import type { JournalCapture } from './capture-journal.js'
import type { Committer } from './committer.js'
import type { DatabaseFiles } from './database-files.js'

/** Bytes of a journaled transaction, journal and pages, that are held in memory; a larger one goes to the disk as it comes. */
const STAGED_LIMIT = 2 << 20
/** A rollback journal's first bytes; zeroed, the journal counts as ended (sqlite.md: PERSIST). */
const JOURNAL_MAGIC_SIZE = 8

/**
 * What the disk sees of the rollback modes. A journaled transaction stays in memory, its pages and its journal, until the journal ends: the
 * disk has the database before it until an LTX file has the transaction, so neither needs a sync of its own. A transaction that grows too
 * large, cuts the database or has a super-journal is spilled: journal and pages are written as they come, in SQLite's order.
 */
export class RollbackJournal {
  readonly #files: DatabaseFiles
  readonly #capture: JournalCapture
  #hot = false
  /** The application waited for this journal to reach the disk. */
  #synced = false
  #spilled = false
  #finishing = false

  constructor(files: DatabaseFiles, capture: JournalCapture) {
    this.#files = files
    this.#capture = capture
  }

  /** The journal has a header: it would be rolled back if its writer died. */
  get hot(): boolean {
    return this.#hot
  }

  /** The transaction that is going on, if one is, cannot be committed any more. */
  onlyUndo(): void {
    this.#finishing = this.#hot
  }

  /** See Database.finishing. */
  get finishing(): boolean {
    return this.#finishing
  }

  /** Writes to the journal, which goes on. Throws a system error. */
  write(file: BackingFile, data: Uint8Array, offset: number): void {
    if (offset === 0) {
      // Pages that the disk did not take when their transaction ended: none starts before it has them.
      if (!this.#hot) this.#files.flush('database')
      this.#hot = true
    }
    if (file.inMemory && this.#files.stagedBytes + data.length > STAGED_LIMIT) this.#spill()
    file.write(data, offset)
  }

  /** Writes to the database file. Throws a system error. */
  writePages(file: BackingFile, data: Uint8Array, offset: number): void {
    if (!this.#hot) file.flush()
    else if (!this.#spilled) {
      if (this.#files.stagedBytes + data.length > STAGED_LIMIT) this.#spill()
      else file.stageBlocks()
    }
    // Noted first: a write that fails may have changed a part.
    this.#capture.written(offset, data.length)
    file.write(data, offset)
  }

  /** Cuts or extends the database file. Throws a system error. */
  truncatePages(file: BackingFile, size: number): void {
    this.#capture.truncated(size)
    if (this.#hot) this.#spill()
    file.truncate(size)
  }

  sync(file: BackingFile): void {
    if (!this.#hot) return
    this.#synced = true
    if (this.#spilled) file.sync()
  }

  syncPages(file: BackingFile): void {
    if (this.#hot && this.#capture.pending) {
      if (!this.#hasSuperJournal()) {
        this.#capture.deferSync()
        return
      }
      this.#spill()
    }
    file.sync()
    this.#capture.synced()
  }

  /** Moves the journal to another path; returns it where somebody has it open. Throws a system error; then it is where it was. */
  moveJournal(from: string, to: string): BackingFile | undefined {
    if (this.#hot) this.#spill()
    this.#files.flush('journal')
    fs.renameSync(from, to)
    this.ended()
    return this.#files.surrender('journal')
  }

  /** The journal is gone, truncated or zeroed. */
  ended(): void {
    this.#hot = false
    this.#synced = false
    this.#spilled = false
    this.#finishing = false
  }

  /**
   * Whether the journal that is about to end has undone a transaction that could not be committed: the database holds again what the journal
   * has of it. It may end, although pages that were free are not what they were, since no journal has those, and that is a transaction.
   */
  isRolledBack({ mayCommit, reception, state: { pageSize } }: Committer): boolean {
    if (mayCommit || (reception.receiving && !this.#finishing) || !this.#hot) return false
    if (!this.#files.exists('journal') || !this.#files.exists('database')) return false
    return this.#files.with('journal', (journal) =>
      this.#files.with('database', (database) => {
        const readAt = (into: Uint8Array, offset: number) => journal.read(into, 0, into.length, offset)
        const header = readJournalHeader(readAt, journal.size(), pageSize)
        if (header === undefined || database.size() !== header.initialPageCount * header.pageSize) return false
        const page = Buffer.alloc(header.pageSize)
        for (const { pgno, data } of journalRecords(readAt, journal.size(), pageSize)) {
          page.fill(0, database.read(page, 0, page.length, (pgno - 1) * page.length))
          if (!page.equals(data)) return false
        }
        return true
      }),
    )
  }

  #spill(): void {
    if (this.#spilled) return
    this.#files.flush('journal')
    if (this.#synced) {
      this.#files.with('journal', (journal) => journal.sync())
      this.#files.syncNames()
    }
    this.#files.flush('database')
    this.#spilled = true
  }

  #hasSuperJournal(): boolean {
    return this.#files.with('journal', (journal) => {
      const readAt = (into: Uint8Array, offset: number) => journal.read(into, 0, into.length, offset)
      return superJournalName(readAt, journal.size()) !== undefined
    })
  }
}

/** Whether this write to a journal ends it, as journal_mode=PERSIST does. */
export function zeroesHeader(data: Uint8Array, offset: number): boolean {
  return offset === 0 && data.subarray(0, JOURNAL_MAGIC_SIZE).every((byte) => byte === 0)
}
