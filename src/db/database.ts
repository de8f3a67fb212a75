import type { Position } from '../ltx/names.js'
import { WAL_HEADER_SIZE } from '../sqlite/wal.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'
import type { BackingFile } from './backing-file.js'
import { JournalCapture } from './capture-journal.js'
import { WalCapture } from './capture-wal.js'
import { type CommitSettings, Committer } from './committer.js'
import { DatabaseFiles, type FileKind } from './database-files.js'
import type { DatabaseStart, DatabaseWatcher } from './database-watcher.js'
import { Freezes } from './freezes.js'
import type { DatabaseLayout } from './layout.js'
import type { PageFreeze } from './page-freeze.js'
import type { PageState } from './page-state.js'
import { captureDrop } from './replacement.js'
import { RollbackJournal, zeroesHeader } from './rollback-journal.js'

/** A rollback journal up to this size (bytes) stays in memory when nobody uses it: the next transaction ends without the disk. */
const KEPT_JOURNAL = 64 << 10

/** One database of this node: its files as the mount sees them, and every transaction captured on the way. */
export class Database {
  readonly name: string
  readonly layout: DatabaseLayout
  readonly files: DatabaseFiles
  /** What takes transactions from other nodes, too. */
  readonly committer: Committer
  readonly #journal: JournalCapture
  readonly #rollback: RollbackJournal
  readonly #wal: WalCapture
  #indexRemoved = false

  readonly #watcher: DatabaseWatcher<Database>
  #retired = false
  readonly freezes = new Freezes()
  readonly #writeCounts: Record<FileKind, number> = { database: 0, journal: 0, wal: 0, shm: 0 }

  constructor(
    name: string,
    layout: DatabaseLayout,
    settings: CommitSettings,
    start: DatabaseStart,
    watcher: DatabaseWatcher<Database>,
  ) {
    this.name = name
    this.layout = layout
    this.files = new DatabaseFiles(layout)
    this.committer = new Committer(layout.ltxDir, settings, start.state, start.lastCommitMs)
    this.#journal = new JournalCapture(this.committer, this.files)
    this.#rollback = new RollbackJournal(this.files, this.#journal)
    this.#wal = new WalCapture(this.committer, this.files)
    this.#watcher = watcher
  }

  /** The position that no writer can take back any more. */
  get position(): Position {
    return this.#wal.position
  }

  /** The newest transaction is in the WAL, but it is not known yet whether SQLite can see it. */
  get provisional(): boolean {
    return this.#wal.provisional
  }

  /** Whether the last connection is about to remove the WAL, which it does after the wal-index: what it could not see there goes with it. */
  get closing(): boolean {
    return this.#indexRemoved && !this.files.exists('shm') && this.files.isOpen('database')
  }

  /** Whether pages can go to its file: a journal can take them back, or they come from the WAL. */
  get guarded(): boolean {
    return this.#rollback.hot || this.#wal.active
  }

  /** Whether every write to the database file belongs to a captured transaction. */
  get complete(): boolean {
    return !this.#journal.pending
  }

  /** Whether the database file was written without a journal, and that is not captured. */
  get unjournaled(): boolean {
    return this.#journal.pending && !this.#rollback.hot && !this.#wal.active && !this.#retired
  }

  /** Whether nobody has any of its files open or reads a copy, and the database file has all of it. */
  get unused(): boolean {
    if (this.busyWith !== undefined || !this.complete || this.#wal.active || this.freezes.size > 0) return false
    return this.files.atRest && this.files.exists('database') && !this.files.exists('journal')
  }

  /** Its file has the pages of a transaction that is safe as an LTX file: see fill. */
  filled(): void {
    this.#journal.filled()
  }

  /** Whether somebody puts other content in the place of database and WAL, or has done so. */
  get rewriting(): boolean {
    return this.#wal.rewriting
  }

  get lastCommitMs(): number {
    return this.committer.lastCommitMs
  }

  /** Page size, page count and page checksums, for saving and for snapshots. Not to be changed. */
  get state(): PageState {
    return this.committer.state
  }

  /** Whether it is in WAL mode, which its file says also while nobody has a WAL. Throws a system error. */
  get journalMode(): 'wal' | 'rollback' {
    return this.#wal.active || this.files.isForWal() ? 'wal' : 'rollback'
  }

  /** Writes to each of the files since the start. */
  get writeCounts(): Readonly<Record<FileKind, number>> {
    return this.#writeCounts
  }

  /**
   * Keeps the database after its newest transaction, which may still be taken back, for a reader, who ends it in `freezes`; before it, where
   * `settle` has just found that nobody sees it. Undefined while the file holds pages of an unfinished transaction. Throws a system error.
   */
  freeze(onFailure: (error: unknown) => void, { isUnseen = false } = {}): PageFreeze | undefined {
    if (this.#journal.pending || this.files.shut !== undefined) return undefined
    // What the disk did not take when the last transaction ended.
    if (!this.#rollback.hot) this.files.flush('database')
    if (this.files.isStaged('database')) return undefined
    return this.freezes.begin(this.layout, { ...this.#wal.content(!isUnseen), onFailure })
  }

  /** Writes all of `data`. Throws a system error, with nothing captured, when the transaction that it completes cannot be stored. */
  write(kind: FileKind, file: BackingFile, data: Uint8Array, offset: number): void {
    this.#writeCounts[kind]++
    if (this.#wal.changed && this.files.isOpen('database') && !(this.rewriting && this.#watcher.isSuperlocked(this)))
      this.readWalAgain()
    if (!this.files.isCurrent(kind, file) || kind === 'shm') {
      file.write(data, offset)
    } else if (kind === 'wal') {
      if (!this.#wal.active) this.#beforeWal()
      if (offset < WAL_HEADER_SIZE) this.freezes.beforeWalReset()
      this.#wal.write(file, data, offset)
      if (this.#wal.provisional) this.#watcher.provisional(this)
      if (offset === 0 && this.#wal.takeCut()) this.#watcher.walCut(this)
    } else if (kind === 'journal') {
      if (zeroesHeader(data, offset)) this.#endJournal(() => file.write(data, offset))
      else this.#rollback.write(file, data, offset)
    } else {
      this.freezes.beforeWrite(offset, data.length)
      if (this.#wal.active) {
        file.write(data, offset)
      } else {
        if (!this.#journal.pending && !this.#rollback.hot) this.#watcher.unjournaled(this)
        this.#rollback.writePages(file, data, offset)
      }
    }
  }

  truncate(kind: FileKind, file: BackingFile, size: number): void {
    if (!this.files.isCurrent(kind, file) || kind === 'shm') {
      file.truncate(size)
    } else if (kind === 'wal') {
      this.freezes.beforeWalReset()
      this.#wal.truncate(file, size)
    } else if (kind === 'journal') {
      if (size === 0) this.#endJournal(() => file.truncate(0))
      else file.truncate(size)
    } else if (this.#wal.active) {
      if (size === 0) this.#beginRewrite()
      this.freezes.beforeTruncate(size)
      file.truncate(size)
    } else {
      this.freezes.beforeTruncate(size)
      this.#rollback.truncatePages(file, size)
    }
  }

  /**
   * Brings what was written to the disk, except what recovery does not need from there: the WAL, whose transactions are durable as LTX files;
   * a journal as long as the pages that it guards are in memory, or when it has no header; and the pages of a journaled transaction, which
   * will be durable as an LTX file before its journal ends. One with a super-journal ends earlier, when that is removed.
   */
  sync(kind: FileKind, file: BackingFile): void {
    if (!this.files.isCurrent(kind, file)) {
      if (!file.inMemory) file.sync()
    } else if (kind === 'wal' && this.#wal.active) {
      this.committer.ensureDurable()
      // It is not undone: the frames stand, and who finds them and who overwrites them decides, as after a failing disk.
      if (this.#wal.unacknowledged) this.committer.checkMayCommit()
    } else if (kind === 'journal') {
      this.#rollback.sync(file)
    } else if (kind === 'database' && !this.#wal.active) {
      this.#rollback.syncPages(file)
    } else {
      file.sync()
    }
  }

  /** Removes one of the files. Removing the database drops it: an LTX file with no pages says so. */
  remove(kind: FileKind): void {
    if (kind === 'journal') {
      this.#endJournal(() => this.files.remove('journal'))
    } else if (kind === 'wal') {
      this.#wal.removeBy(() => this.files.remove('wal'))
      this.#indexRemoved = false
      this.readWalAgain()
    } else if (kind === 'database') {
      this.#drop()
    } else {
      this.files.remove(kind)
      if (kind === 'shm') this.#indexRemoved = true
    }
  }

  /** The last user closed a file. Of the database file: what was written without a journal is complete now. */
  closed(kind: FileKind): void {
    if (this.files.isOpen(kind)) return
    // What journal_mode=PERSIST leaves of a large one would stay in memory for as long as nobody comes.
    if (kind === 'journal' && !this.#rollback.hot && this.files.size('journal') > KEPT_JOURNAL)
      this.files.flush('journal')
    if (kind === 'wal') this.readWalAgain()
    if (kind !== 'database') return
    this.#indexRemoved = false
    this.ended()
  }

  /** Nobody can write any more; a transaction that runs is given up. Throws a system error when what was captured cannot be written. */
  ended(): void {
    if (!this.#rollback.hot) this.files.flush('database')
    if (!this.unjournaled) return
    if (this.files.isCutShort()) this.#watcher.cutShort(this)
    else this.#journal.finish(!this.committer.reception.receiving)
  }

  /** From now on this node takes transactions from another one only, or makes its own again. What had no journal is captured: it is believed in. */
  receive(on: boolean): void {
    if (on && !this.committer.reception.receiving) {
      this.ended()
      this.onlyUndo()
    }
    this.committer.reception.receiving = on
  }

  /** Who wrote it is gone: whoever comes next undoes what is going on in its rollback journal. */
  onlyUndo(): void {
    this.#rollback.onlyUndo()
  }

  /** Whether its rollback journal is of a transaction whose writer is gone, or has lost that role: it can only be rolled back. */
  get finishing(): boolean {
    return this.#rollback.finishing
  }

  /** Another database may take the name: what is still open belongs to nobody. */
  retire(): void {
    this.#retired = true
  }

  /** See WalCapture.settle. */
  settle(index: WalIndexHeader | undefined): boolean {
    return this.#wal.settle(index)
  }

  /** Why its file cannot be moved, or another take its place; undefined when nothing is in the way. */
  get busyWith(): string | undefined {
    if (this.files.isOpen('wal') || this.files.isOpen('shm')) return 'a connection uses its WAL'
    if (this.files.size('wal') > 0) return 'its WAL holds transactions'
    if (this.#rollback.hot && this.files.size('journal') > 0) return 'its journal is needed'
    return undefined
  }

  /** Moves the journal to another path; see RollbackJournal. What its transaction wrote is one without a journal from now on. */
  giveUpJournal(target: string): BackingFile | undefined {
    const journal = this.#rollback.moveJournal(this.layout.journal, target)
    if (this.#journal.pending) this.#watcher.unjournaled(this)
    return journal
  }

  /** The database file is another now: `file` when somebody has it open; `captured` tells whether its content is. Of the old one nothing is. */
  replaced(file: BackingFile | undefined, captured: boolean): void {
    this.files.adopt('database', file)
    this.#wal.abandon()
    this.#journal.abandon()
    this.#rollback.ended()
    if (!captured) this.#journal.replaced()
  }

  /** The WAL's pages will lie over what the database file holds now, which therefore must be captured and on disk. */
  #beforeWal(): void {
    this.ended()
    this.#journal.syncDeferred()
  }

  /** Somebody with all locks puts other content in the place of both files. EBUSY without the locks: it would tear the database. */
  #beginRewrite(): void {
    if (!this.#watcher.isSuperlocked(this))
      throw Object.assign(new Error('Cannot empty a database whose WAL is in use'), { code: 'EBUSY' })
    this.#wal.giveUp()
    this.#journal.replaced()
  }

  /** Captures what a tool made of the WAL and, with it, of the database. Throws a system error. */
  readWalAgain(): void {
    if (!this.#wal.changed) return
    if (this.#wal.readAgain()) {
      this.#journal.syncDeferred()
      this.#journal.abandon()
    } else {
      this.#journal.replaced()
      this.ended()
    }
  }

  /** Captures the transaction whose journal `end` ends. The journal stays, and with it the way back, when that fails. */
  #endJournal(end: () => void): void {
    const captured = this.#wal.active ? undefined : this.#journal.finish(this.#rollback.isRolledBack(this.committer))
    try {
      end()
    } catch (error) {
      if (captured !== undefined) this.#journal.unfinish(captured)
      throw error
    }
    this.#rollback.ended()
    if (!this.#wal.active) this.#flushCommitted()
  }

  /** The transaction is safe as an LTX file. Pages that the disk does not take now stay in memory, and whoever writes next hears of it. */
  #flushCommitted(): void {
    try {
      this.files.flush('database')
    } catch (error) {
      this.#watcher.unwritten(this, error)
    }
  }

  #drop(): void {
    const captured = captureDrop(this)
    try {
      this.files.remove('database')
    } catch (error) {
      if (captured !== undefined) this.committer.undo(captured)
      throw error
    }
    this.#wal.abandon()
    this.#journal.abandon()
    this.#rollback.ended()
  }
}
