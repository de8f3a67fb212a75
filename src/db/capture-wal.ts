import type { Position } from '../ltx/names.js'
import { pageChecksum } from '../native.js'
import { FRAME_HEADER_SIZE, isSameWal, parseWalHeader, WAL_HEADER_SIZE, type WalHeader } from '../sqlite/wal.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'
import type { ReadAt, WalCursor, WalTransaction } from '../sqlite/wal-scan.js'
import type { BackingFile } from './backing-file.js'
import { captureWalContent } from './capture-wal-content.js'
import type { Captured, Committer } from './committer.js'
import type { DatabaseFiles } from './database-files.js'
import { overlaid, repeats, spoil } from './overlay.js'
import type { FreezeStart } from './page-freeze.js'
import { walPages } from './wal-pages.js'
import { WalTail } from './wal-tail.js'

/** The newest transaction in the WAL. */
interface Newest {
  readonly captured: Captured
  /** Cursor before its first frame. */
  readonly before: WalCursor
  /** Page of its commit frame. */
  readonly lastPgno: number
  /** Until SQLite's wal-index covers it, the next writer may still overwrite it. */
  provisional: boolean
}

/**
 * Captures the transactions of one WAL at the write that completes their commit frame, before that write reaches the file.
 *
 * A captured transaction is provisional until the wal-index covers it: an application that dies in between leaves frames that the next
 * writer overwrites. Such a write below the captured end takes the transaction back.
 */
export class WalCapture {
  readonly #committer: Committer
  readonly #files: DatabaseFiles
  readonly #tail = new WalTail()
  #newest: Newest | undefined
  #page = Buffer.alloc(0)
  /** See `changed`. */
  #changed = false
  /** By somebody who holds all locks while others have the database open. */
  #rewriting = false

  constructor(committer: Committer, files: DatabaseFiles) {
    this.#committer = committer
    this.#files = files
  }

  /** Whether the database is in WAL mode with a WAL in use: writes to the database file are checkpoints then. */
  get active(): boolean {
    return this.#tail.header !== undefined
  }

  /** What can be frozen of the database: what it is now, or what it was before its newest transaction, which is in the WAL only. */
  content(withNewest: boolean): Omit<FreezeStart, 'onFailure'> {
    if (!withNewest && this.#newest !== undefined) {
      const { before, captured } = this.#newest
      const { pageSize, pageCount } = captured.inverse
      return { pageSize, pageCount, position: captured.before, walEnd: before.offset }
    }
    const { position, state } = this.#committer
    const { pageSize, pageCount } = state
    return { pageSize, pageCount, position, walEnd: this.active ? this.#tail.committed.offset : 0 }
  }

  get provisional(): boolean {
    return this.#newest?.provisional ?? false
  }

  /** Whether the newest transaction was made on this node and its writer may not believe in it yet. */
  get unacknowledged(): boolean {
    return this.#newest?.provisional === true && this.#newest.captured.own
  }

  /** See WalTail.takeCut. */
  takeCut(): boolean {
    return this.#tail.takeCut()
  }

  /**
   * Whether transactions in the WAL were changed while nobody had the database open: a tool did it, such as `cp` or `rm`, not SQLite. What
   * it writes is captured by `readAgain` once it is done.
   */
  get changed(): boolean {
    return this.#changed
  }

  get rewriting(): boolean {
    return this.#rewriting
  }

  /** Somebody who holds all locks is about to write database and WAL as he likes; `readAgain` captures what comes of it. */
  giveUp(): void {
    this.#committer.ensureDurable()
    this.#changed = true
    this.#rewriting = true
  }

  /** The position that no writer can take back any more. */
  get position(): Position {
    return this.#newest?.provisional ? this.#newest.captured.before : this.#committer.position
  }

  /** Writes `data` to the WAL. Throws before anything is written when a transaction that it completes cannot be stored. */
  write(file: BackingFile, data: Uint8Array, offset: number): void {
    if (this.#changed) {
      file.write(data, offset)
      return
    }
    if (offset < WAL_HEADER_SIZE) {
      const length = WAL_HEADER_SIZE - offset
      this.#writeHeader(file, data.subarray(0, length), offset)
      if (data.length > length) this.write(file, data.subarray(length), WAL_HEADER_SIZE)
      return
    }
    if (this.active && offset < this.#tail.committed.offset) {
      // The dropped transaction done again begins with the same frames: as long as nothing differs, its frames stand and may be found.
      if (repeats(file, data, offset)) return
      if (!this.#takesBack(offset) && this.#isByTool()) {
        file.write(data, offset)
        return
      }
      this.#takeBack(file, offset)
    }
    const readAt = overlaid(file, data, offset)
    const start = this.#tail.committed
    const made: Newest[] = []
    try {
      const transactions = this.#tail.write(offset, data, readAt)
      for (const transaction of transactions) this.#capture(transaction, readAt, made)
      // Also padding: who reads a copy of the database goes to the file itself, up to the end of the last transaction.
      if (transactions.length > 0) {
        file.writeThrough(data, offset)
      } else {
        file.stageRun()
        file.write(data, offset)
      }
    } catch (error) {
      try {
        for (const newest of made.reverse()) this.#undo(newest)
      } finally {
        this.#tail.moveTo(start)
      }
      throw error
    }
  }

  truncate(file: BackingFile, size: number): void {
    const ends = this.active && size < this.#tail.committed.offset && !this.#isByTool()
    if (ends && size > WAL_HEADER_SIZE)
      throw new Error(`Cannot truncate WAL to ${size} bytes: it would cut transactions in two`)
    this.#endBy(() => file.truncate(size), ends)
  }

  /** `remove` removes the WAL's name. Where it throws, SQLite goes on with the WAL. */
  removeBy(remove: () => void): void {
    this.#endBy(remove, this.active && !this.#isByTool())
  }

  /**
   * Captures what SQLite will find in a WAL that a tool changed, as one transaction. Returns false when it will find none: then the content
   * is what the database file has. Throws when the transaction cannot be stored; to be called again then.
   */
  readAgain(): boolean {
    const found = this.#files.exists('wal')
      ? this.#files.with('wal', (wal) => captureWalContent(wal, this.#files, this.#committer))
      : undefined
    this.#tail.reset(found?.header, found?.transactions.at(-1)?.end)
    this.#forgetChange()
    return found !== undefined
  }

  /** The database is gone; whatever is still written to its WAL belongs to nobody. */
  abandon(): void {
    this.#tail.reset(undefined)
    this.#forgetChange()
  }

  #forgetChange(): void {
    this.#newest = undefined
    this.#changed = false
    this.#rewriting = false
  }

  /**
   * Makes the newest transaction final if SQLite can see it. `index` is the wal-index now, undefined when nobody has it open: the next opener
   * finds the frames then. True when nobody sees it: until something else is written, no page of it is in the database file.
   */
  settle(index: WalIndexHeader | undefined): boolean {
    const { header } = this.#tail
    if (this.#newest === undefined || header === undefined) return false
    if (index === undefined) {
      this.#newest.provisional = false
      return false
    }
    const frames = (this.#tail.committed.offset - WAL_HEADER_SIZE) / (FRAME_HEADER_SIZE + header.pageSize)
    const sameWal = index.salt1 === header.salt1 && index.salt2 === header.salt2
    if (index.valid && sameWal && index.mxFrame >= frames) this.#newest.provisional = false
    return index.valid && this.#newest.provisional
  }

  #capture(transaction: WalTransaction, readAt: ReadAt, made: Newest[]): void {
    const { header } = this.#tail
    if (header === undefined) return
    if (this.#isPadding(header, transaction, readAt)) {
      this.#tail.moveTo(transaction.end)
      return
    }
    const pages = walPages(header, transaction, this.#committer.state, this.#files, readAt)
    const { salt1, salt2 } = header
    const wal = { offset: transaction.start, size: transaction.end.offset - transaction.start, salt1, salt2 }
    const captured = this.#committer.commit(pages, { wal, skipUnchanged: false, durable: false })
    if (captured === undefined) throw new Error('Cannot write a transaction to the WAL: it changes nothing')
    const lastPgno = transaction.pgnos.at(-1) ?? 0
    this.#newest = { captured, before: this.#tail.committed, lastPgno, provisional: true }
    made.push(this.#newest)
    this.#tail.moveTo(transaction.end)
  }

  #undo(newest: Newest): void {
    this.#tail.moveTo(newest.before)
    this.#newest = undefined
    this.#committer.undo(newest.captured)
  }

  /** Notes a change of the transactions by a tool. SQLite, whose connections all have the database open, never does it. */
  #isByTool(): boolean {
    if (this.#rewriting) return true
    if (this.#files.isOpen('database')) return false
    this.#committer.ensureDurable()
    this.#changed = true
    return true
  }

  #takesBack(offset: number): boolean {
    return this.#newest !== undefined && offset >= this.#newest.before.offset
  }

  /**
   * A writer overwrites the newest transaction: it went by a wal-index that does not have it. Its frames are spoilt first, since what he writes
   * may stay in memory, or be refused. Throws a system error where they cannot be; then they stand.
   */
  #takeBack(file: BackingFile, offset: number): void {
    const newest = this.#newest
    if (newest === undefined || !this.#takesBack(offset)) {
      throw new Error(`Cannot write WAL at ${offset}: transactions up to ${this.#tail.committed.offset} are in force`)
    }
    spoil(file, offset)
    this.#undo(newest)
  }

  /** A frame that repeats the commit frame up to the end of a disk sector (databases opened with psow=0). */
  #isPadding(header: WalHeader, transaction: WalTransaction, readAt: ReadAt): boolean {
    const newest = this.#newest
    const { state } = this.#committer
    if (newest === undefined || !newest.provisional || transaction.pgnos.length !== 1) return false
    if (transaction.pgnos[0] !== newest.lastPgno || transaction.commit !== state.pageCount) return false
    if (this.#page.length !== header.pageSize) this.#page = Buffer.alloc(header.pageSize)
    readAt(this.#page, transaction.start + FRAME_HEADER_SIZE)
    return this.#matchesState(newest.lastPgno, this.#page)
  }

  #matchesState(pgno: number, page: Uint8Array): boolean {
    const sums = new Uint32Array(4)
    pageChecksum(sums, 0, pgno, page, 0, page.length)
    this.#committer.state.checksums.get(pgno, sums, 1)
    return sums[0] === sums[2] && sums[1] === sums[3]
  }

  #writeHeader(file: BackingFile, data: Uint8Array, offset: number): void {
    const active = this.active
    if (active && this.#isByTool()) {
      file.write(data, offset)
      return
    }
    if (active) this.#beforeOverwrite()
    file.write(data, offset)
    const bytes = Buffer.alloc(WAL_HEADER_SIZE)
    const n = file.read(bytes, 0, bytes.length, 0)
    const header = n === bytes.length ? parseWalHeader(bytes) : undefined
    if (header !== undefined && isSameWal(header, this.#tail.header)) return
    this.#tail.reset(header)
    this.#newest = undefined
  }

  #endBy(end: () => void, ends: boolean): void {
    if (ends) this.#beforeOverwrite()
    end()
    if (!ends) return
    this.#tail.reset(undefined)
    this.#newest = undefined
  }

  /** The frames are about to go: the LTX files must be safe, and it must be known whether the newest transaction counts. */
  #beforeOverwrite(): void {
    if (this.#newest?.provisional && !this.#isInDatabase(this.#newest)) this.#undo(this.#newest)
    this.#committer.ensureDurable()
  }

  /** SQLite lets a WAL go only when everything that it sees there is in the database file; frames that it does not see are not. */
  #isInDatabase(newest: Newest): boolean {
    const { pageSize, pageCount } = this.#committer.state
    const page = Buffer.alloc(pageSize)
    return this.#files.with('database', (file) =>
      newest.captured.inverse.pgnos.every((pgno) => {
        if (pgno > pageCount) return true
        const n = file.read(page, 0, pageSize, (pgno - 1) * pageSize)
        page.fill(0, n)
        return this.#matchesState(pgno, page)
      }),
    )
  }
}
