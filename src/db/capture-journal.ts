import { DATABASE_HEADER_SIZE, databasePageCount, parseDatabaseHeader } from '../sqlite/database-header.js'
import type { BackingFile } from './backing-file.js'
import type { Captured, Committer } from './committer.js'
import type { DatabaseFiles } from './database-files.js'
import { DirtyPages } from './dirty-pages.js'
import { NO_WAL, type TransactionPages, withGrowth } from './transaction.js'

/**
 * Collects what rollback-journal transactions write to the database file, and captures it when the journal ends: by being unlinked,
 * truncated or zeroed, whichever the journal mode does. The dirty pages come from the writes, never from the journal: pages that were
 * free when the transaction began are not in it. A rollback ends the same way, with every page as it was, and is no transaction.
 */
export class JournalCapture {
  readonly #committer: Committer
  readonly #files: DatabaseFiles
  readonly #dirty = new DirtyPages()
  /** Page size or content are unknown: every page may have changed. */
  #everything = false
  /** The fewest pages that the file was cut to since the last transaction: those behind them are other ones, zeros where nobody wrote. */
  #fewestPages = Number.POSITIVE_INFINITY
  /** The file is not a database, although the LTX files say that it is one. */
  #foreign = false
  /** The application waited for the database file to reach the disk, so it will expect its commit there too. */
  #durable = false
  /** What it waited for was put off until the journal ends. */
  #syncDeferred = false
  /** Pages of captured transactions are on disk in LTX files only. */
  #unsynced = false

  constructor(committer: Committer, files: DatabaseFiles) {
    this.#committer = committer
    this.#files = files
  }

  /** Whether something was written since the last transaction. */
  get pending(): boolean {
    return this.#everything || this.#fewestPages < Number.POSITIVE_INFINITY || this.#dirty.size > 0
  }

  written(offset: number, length: number): void {
    const { pageSize } = this.#committer.state
    if (pageSize === 0) {
      this.#everything = true
      return
    }
    const last = Math.floor((offset + length - 1) / pageSize) + 1
    for (let pgno = Math.floor(offset / pageSize) + 1; pgno <= last; pgno++) this.#dirty.add(pgno)
  }

  /** Cut or extended to `size` bytes. */
  truncated(size: number): void {
    const { pageSize } = this.#committer.state
    if (pageSize === 0) this.#everything = true
    else this.#fewestPages = Math.min(this.#fewestPages, Math.floor(size / pageSize))
  }

  /** Another file took the place of the database's, with content that is in no LTX file. */
  replaced(): void {
    this.#everything = true
  }

  /**
   * The application waits for the database file to reach the disk. Its transaction will be there as an LTX file before the journal ends,
   * and until then there is the journal, so the file itself need not be.
   */
  deferSync(): void {
    this.#durable = true
    this.#syncDeferred = true
  }

  /** The database file is on disk. A transaction in it that had no LTX file would be undone by the next start. */
  synced(): void {
    this.#durable = true
  }

  /**
   * The journal is about to end, or its writer is done who had none and believes in what he wrote (`afterTheFact`). Captures what changed;
   * throws when that cannot be stored, and then nothing has happened.
   */
  finish(afterTheFact = false): Captured | undefined {
    if (!this.#files.exists('database')) return undefined
    const captured = this.#files.with('database', (file) => {
      const found = this.#capture(file, afterTheFact)
      // Rolled back, or no database: no LTX file has these pages, so the file must.
      if (found === undefined && this.#syncDeferred) file.sync()
      return found
    })
    this.#dirty.clear()
    this.#fewestPages = Number.POSITIVE_INFINITY
    this.#everything = this.#foreign
    if (captured !== undefined && this.#syncDeferred) this.#unsynced = true
    this.#syncDeferred = false
    this.#durable = false
    return captured
  }

  /** Makes up for the syncs that were put off. A WAL needs it: its frames say nothing about the pages that they do not hold. */
  syncDeferred(): void {
    this.#files.flush('database')
    if (this.#unsynced && this.#files.exists('database')) this.#files.with('database', (file) => file.sync())
    this.#unsynced = false
  }

  /** Pages of a captured transaction were written by other means: see fill. */
  filled(): void {
    this.#unsynced = true
  }

  /** The database is gone, and what was written to it with it. */
  abandon(): void {
    this.#dirty.clear()
    this.#fewestPages = Number.POSITIVE_INFINITY
    this.#everything = false
    this.#syncDeferred = false
    this.#durable = false
    this.#unsynced = false
  }

  /** The journal could not be ended after all. */
  unfinish(captured: Captured): void {
    this.#everything = true
    this.#committer.undo(captured)
  }

  #capture(file: BackingFile, afterTheFact: boolean): Captured | undefined {
    const { state } = this.#committer
    const size = file.size()
    const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
    file.read(bytes, 0, bytes.length, 0)
    const header = parseDatabaseHeader(bytes)
    this.#foreign = header === undefined && size > 0 && state.pageCount > 0
    if (header === undefined) {
      // An emptied database; a plain file of this node; or a first transaction that was rolled back.
      return size === 0 && state.pageCount > 0 ? this.#captureEmpty(state.pageSize, afterTheFact) : undefined
    }
    const pageCount = databasePageCount(header, size)
    if (!this.pending && pageCount === state.pageCount) return undefined
    const pages = dirtyTransaction(file, header.pageSize, pageCount, this.#changedPages(header.pageSize, pageCount))
    return this.#committer.commit(pages, { wal: NO_WAL, skipUnchanged: true, durable: this.#durable, afterTheFact })
  }

  #captureEmpty(pageSize: number, afterTheFact: boolean): Captured | undefined {
    const pages = { pageSize, pageCount: 0, pgnos: new Uint32Array(0), read: () => {} }
    return this.#committer.commit(pages, { wal: NO_WAL, skipUnchanged: true, durable: true, afterTheFact })
  }

  #changedPages(pageSize: number, pageCount: number): Uint32Array {
    const { state } = this.#committer
    if (this.#everything || pageSize !== state.pageSize) return withGrowth(new Uint32Array(0), 0, pageCount, pageSize)
    const dirty = Uint32Array.from(this.#dirty.ascending()).filter((pgno) => pgno <= pageCount)
    return withGrowth(dirty, Math.min(state.pageCount, this.#fewestPages), pageCount, pageSize)
  }
}

/** Bytes of pages that follow each other and are read in one go. */
const READ_AHEAD = 256 << 10

/** Pages read from the database file; what lies beyond its end reads as zeros, as it does for SQLite. */
function dirtyTransaction(
  file: BackingFile,
  pageSize: number,
  pageCount: number,
  pgnos: Uint32Array,
): TransactionPages {
  const window = Buffer.allocUnsafe(Math.min(READ_AHEAD, pgnos.length * pageSize))
  /** The pages in the window: entries of `pgnos`. */
  let from = 0
  let to = 0
  const load = (index: number) => {
    const first = pgnos[index] ?? 0
    const limit = Math.min(pgnos.length, index + Math.floor(window.length / pageSize))
    from = index
    to = index + 1
    while (to < limit && pgnos[to] === first + (to - from)) to++
    const wanted = (to - from) * pageSize
    window.fill(0, file.read(window, 0, wanted, (first - 1) * pageSize), wanted)
  }
  return {
    pageSize,
    pageCount,
    pgnos,
    read(index, into) {
      if (index < from || index >= to) load(index)
      window.copy(into, 0, (index - from) * pageSize, (index - from + 1) * pageSize)
    },
  }
}
