import fs from 'node:fs'
import fsp from 'node:fs/promises'
import path from 'node:path'
import type { BackingFile } from '../db/backing-file.js'
import type { CommitSettings } from '../db/committer.js'
import { Database } from '../db/database.js'
import { FILE_KINDS, type FileKind } from '../db/database-files.js'
import { databaseLayout } from '../db/layout.js'
import type { PageFreeze } from '../db/page-freeze.js'
import { PageState } from '../db/page-state.js'
import { RecoveryError, recoverDatabase } from '../db/recover.js'
import { saveChecksums } from '../db/saved-checksums.js'
import { describeError, type Log } from '../log.js'
import { syncFileSystem } from '../native.js'
import { CommitFeed, type DurableCommit, type FollowPace } from './commit-feed.js'
import { DataDirectory } from './data-directory.js'
import { freezeDurable } from './freeze-durable.js'
import { LocalFiles, type Ownership, startsLikeDatabase } from './local-files.js'
import { LtxLog } from './ltx-log.js'
import { replayLtxLog } from './ltx-log-replay.js'
import { LogSegment } from './ltx-log-segment.js'
import { endIntent, recoverMove } from './move-intent.js'
import { readOwnership, writeOwnership } from './ownership.js'
import { type Relocation, relocate } from './relocation.js'
import { type Retained, RetentionRounds, type RetentionTimes } from './retention-rounds.js'
import { type ReadWalIndex, Settler } from './settler.js'
import { isSuperJournalThere } from './super-journal.js'
import { keepSuperseded, type Superseded } from './superseded.js'
import { type IsWriteLocked, UnjournaledWatch } from './unjournaled.js'

/** Between two lines of the log that say the same of a database, milliseconds. */
const TELL_AGAIN_MS = 60_000
/** Who owns a file that nobody else does. */
const OWN: Ownership = { mode: 0o666, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }

export interface StoreOptions extends RetentionTimes {
  /** Of this node, for the LTX files that it makes. */
  readonly nodeId: bigint
  readonly dataDir: string
  /** Where the databases will be seen; super-journals are named by that path. */
  readonly mountDir: string
  readonly compress: boolean
  readonly syncEveryCommit: boolean
  readonly readWalIndex: ReadWalIndex
  /** See CommitSettings. */
  readonly mayCommit: () => boolean
  readonly isWriteLocked: IsWriteLocked
  /** Whether somebody holds all locks of a database's wal-index; undefined where that cannot be seen. */
  readonly isSuperlocked: IsWriteLocked
  /** Has the kernel read a database's WAL into its cache, where it makes writes cheaper. */
  readonly warmWal: (name: string) => void
  /** Takes transactions that are final and durable, while they are followed. */
  readonly publish: (commits: readonly DurableCommit[]) => void
  /** Databases may have other positions now. */
  readonly moved: (databases: ReadonlyMap<string, Database>) => void
  readonly log: Log
}

/** The databases of this node and what they share: the LTX log, the settling of provisional transactions, retention. */
export class Store {
  /** What the mount has besides databases. */
  readonly local: LocalFiles
  readonly #options: StoreOptions
  readonly #data: DataDirectory
  readonly #ltxLog: LtxLog
  readonly #settings: CommitSettings
  readonly #settler: Settler
  readonly #unjournaled: UnjournaledWatch
  readonly #databases: Map<string, Database>
  readonly #unwrittenToldMs = new WeakMap<Database, number>()
  readonly feed: CommitFeed
  #counting: Promise<void> = Promise.resolve()
  readonly retention: RetentionRounds

  private constructor(
    options: StoreOptions,
    data: DataDirectory,
    ltxLog: LtxLog,
    databases: Map<string, Database>,
    feed: CommitFeed,
  ) {
    this.#options = options
    this.#data = data
    this.#ltxLog = ltxLog
    this.local = new LocalFiles(options.dataDir)
    this.#databases = databases
    this.feed = feed
    this.#settings = {
      sink: ltxLog,
      nodeId: options.nodeId,
      compress: options.compress,
      syncEveryCommit: options.syncEveryCommit,
      now: Date.now,
      mayCommit: options.mayCommit,
    }
    this.#settler = new Settler(options.readWalIndex, options.log, {
      pace: () => feed.pace,
      settled: () => feed.schedule(),
    })
    this.#unjournaled = new UnjournaledWatch(options.isWriteLocked, options.log)
    const tallyOf = ({ layout }: Retained) => feed.tally(layout.ltxDir)
    const sync = () => this.#syncData()
    const parts = { databases: () => this.all(), tallyOf, spares: ltxLog.spares, sync, log: options.log }
    this.retention = new RetentionRounds(parts, options)
  }

  /** Opens the data directory and recovers every database in it. Throws a system error, or when another process uses the directory. */
  static async open(options: StoreOptions): Promise<Store> {
    const data = DataDirectory.open(options.dataDir)
    const logDir = path.join(options.dataDir, 'ltxlog')
    fs.mkdirSync(logDir, { recursive: true })
    const segments = [LogSegment.open(path.join(logDir, '0')), LogSegment.open(path.join(logDir, '1'))] as const
    const sequence = replayLtxLog(options.dataDir, segments)
    recoverMove(options.dataDir, options.log)
    await syncFileSystem(segments[0].fd)
    const databases = new Map<string, Database>()
    const moved = () => options.moved(databases)
    const feed = new CommitFeed({ databases: () => databases.values(), publish: options.publish, moved })
    const ltxLog = new LtxLog(options.dataDir, options.log, segments, sequence, feed)
    endIntent(options.dataDir)
    const store = new Store(options, data, ltxLog, databases, feed)
    for (const name of data.databaseNames()) await store.#recover(name)
    for (const database of [...store.all()]) store.#place(database)
    store.#counting = store.#countLtxFiles()
    return store
  }

  get(name: string): Database | undefined {
    return this.#databases.get(name)
  }

  /** The database of that name, new and empty where there is none. */
  getOrCreate(name: string): Database {
    const database = this.#databases.get(name)
    return database ?? this.#add(name, { state: new PageState(), lastCommitMs: 0 })
  }

  /** Every database, those that were dropped included. */
  all(): Iterable<Database> {
    return this.#databases.values()
  }

  /** Forgets a name under which there never was a transaction and is no file any more. */
  discardIfEmpty(database: Database): void {
    if (database.state.txid > 0n || FILE_KINDS.some((kind) => database.files.exists(kind))) return
    database.retire()
    this.feed.forget(database)
    this.#databases.delete(database.name)
    const { dir, ltxDir } = database.layout
    for (const empty of [ltxDir, dir]) {
      if (fs.existsSync(empty) && fs.readdirSync(empty).length === 0) fs.rmdirSync(empty)
    }
  }

  /** A file that is not known yet to be a database is none after all: it becomes a plain file. Returns it where somebody has it open. */
  toPlain(database: Database, ownership: Ownership): BackingFile | undefined {
    const { name, layout } = database
    database.files.flush('database')
    fs.renameSync(layout.database, this.local.path(name))
    this.local.own(name, ownership)
    this.local.changed(name)
    fs.rmSync(layout.attributes, { force: true })
    const file = database.files.surrender('database')
    database.replaced(undefined, true)
    this.discardIfEmpty(database)
    this.#options.log.info(`${name} is not a database: it is a file of this node only and is not replicated`)
    return file
  }

  /** A plain file is about to become a database; `file` when somebody has it open. */
  toDatabase(name: string, file: BackingFile | undefined): Database {
    const database = this.getOrCreate(name)
    const { mode, uid, gid } = fs.statSync(this.local.path(name))
    database.files.makeDirectories()
    fs.renameSync(this.local.path(name), database.layout.database)
    writeOwnership(database.layout, { mode: mode & 0o7777, uid, gid })
    this.local.changed(name)
    database.replaced(file, false)
    return database
  }

  /** A plain file is one of a database's side files from now on. Nobody has it open. */
  toSideFile(name: string, database: Database, kind: FileKind): void {
    fs.renameSync(this.local.path(name), database.layout[kind])
    this.local.changed(name)
  }

  /** The databases of which there is a file below a directory of the mount. */
  below(directory: string): Database[] {
    const inside = [...this.#databases.values()].filter(({ name }) => name.startsWith(`${directory}/`))
    return inside.filter(({ files }) => FILE_KINDS.some((kind) => files.exists(kind)))
  }

  /** Before a snapshot takes the place of what this database is. Rejects with a system error. */
  async keepSuperseded({ name, layout }: Database): Promise<Superseded | undefined> {
    await this.#ltxLog.settle()
    return keepSuperseded(this.#data.path, name, layout)
  }

  /** Moves databases and other files in one step: a crash leaves all as it was or all as it will be. Throws a system error. */
  relocate(relocation: Relocation): void {
    try {
      relocate(this.#data.path, relocation)
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EBUSY') this.#options.log.warn(error.message)
      throw error
    }
    for (const { source } of relocation.moves) this.discardIfEmpty(source)
    for (const database of relocation.dropped) this.discardIfEmpty(database)
  }

  /** A directory of the mount is gone. */
  prune(name: string): void {
    this.#data.prune(name)
  }

  /** Brings every name that was added or removed to the disk. */
  syncNames(): void {
    this.local.syncNames()
    for (const database of this.#databases.values()) database.files.syncNames()
  }

  /** Resolves when the position of the database is what its users see; see Settler.settle. */
  settle(database: Database): Promise<boolean> {
    return this.#settler.settle(database)
  }

  /** Somebody has closed one of the database's files. Throws a system error when what he put there cannot be captured. */
  closedBySomebody(database: Database): void {
    if (database.rewriting && this.#options.isSuperlocked(database.name) !== true) database.readWalAgain()
  }

  /** Somebody who wrote this database's file has closed it. */
  writerClosed(database: Database): void {
    this.#unjournaled.writerClosed(database)
  }

  /** Resolves when every transaction that nobody can take back any more is final, published if they are, and durable. Rejects with a system error. */
  async makeFinal(): Promise<void> {
    for (const database of [...this.all()]) await this.settle(database)
    for (const database of this.all()) database.committer.ensureDurable()
    this.feed.flush()
  }

  /** From now on transactions are published, and those before are at their places when it resolves. */
  async follow(pace: FollowPace): Promise<void> {
    this.feed.pace = pace
    this.#settler.hasten()
    await this.#ltxLog.flush()
  }

  unfollow(): void {
    this.feed.pace = 'off'
  }

  /** Keeps a database, as it is at a position that is final and durable, for a reader. Rejects when a transaction goes on for too long. */
  freeze(database: Database): Promise<PageFreeze | undefined> {
    return freezeDurable(database, {
      durableTxid: () => this.feed.durablePosition(database).txid,
      settle: () => this.settle(database),
      onFailure: (error) => this.#options.log.error(`cannot keep pages of ${database.name}: ${describeError(error)}`),
    })
  }

  /** Writes down what is still in memory. Nobody may write to a database any more. Rejects when an LTX file cannot be written. */
  async close(): Promise<void> {
    this.#settler.stop()
    this.#unjournaled.stop()
    await this.retention.stop()
    await this.#counting
    for (const database of this.#databases.values()) database.ended()
    await this.#ltxLog.close()
    for (const database of this.#databases.values()) {
      if (database.complete && database.state.txid > 0n) saveChecksums(database.layout, database.state)
    }
    this.#data.close()
  }

  async #recover(name: string): Promise<void> {
    const layout = databaseLayout(this.#data.path, name)
    const { log } = this.#options
    try {
      const place = { dataDir: this.#data.path, mountDir: this.#options.mountDir }
      const superJournalExists = (file: string) => isSuperJournalThere(file, this.local, place)
      this.#add(name, await recoverDatabase(layout, { ...this.#settings, log, superJournalExists }))
    } catch (error) {
      if (!(error instanceof RecoveryError)) throw new Error(`Cannot start with database ${name}`, { cause: error })
      const target = this.#data.setAside(name, layout.dir, new Date())
      log.error(`database ${name} is set aside as ${target}: ${error.message}`)
    }
  }

  #add(name: string, start: ConstructorParameters<typeof Database>[3]): Database {
    const layout = databaseLayout(this.#data.path, name)
    const database = new Database(name, layout, this.#settings, start, {
      provisional: (provisional) => this.#settler.add(provisional),
      unjournaled: (written) => this.#unjournaled.add(written),
      cutShort: ({ name }) => {
        const rest = 'copy it again, whole'
        this.#options.log.warn(`${name}: is shorter than its header says, so it is no transaction; ${rest}`)
      },
      isSuperlocked: (locked) => this.#options.isSuperlocked(locked.name) === true,
      walCut: (cut) => this.#options.warmWal(cut.name),
      unwritten: (waiting, error) => this.#tellUnwritten(waiting, error as Error),
    })
    this.#databases.set(name, database)
    return database
  }

  /** A full disk has every transaction wait. */
  #tellUnwritten(waiting: Database, error: Error): void {
    const nowMs = performance.now()
    if (nowMs - (this.#unwrittenToldMs.get(waiting) ?? Number.NEGATIVE_INFINITY) < TELL_AGAIN_MS) return
    this.#unwrittenToldMs.set(waiting, nowMs)
    this.#options.log.error(`cannot write pages of ${waiting.name}, they stay in memory: ${error.message}`)
  }

  /** After recovery: has the directories of a database, makes a plain file of what is none, and forgets what is nothing. */
  #place(database: Database): void {
    const { name, files, layout, state } = database
    if (files.exists('database')) this.local.makeParents(name)
    const size = files.size('database')
    if (state.pageCount === 0 && size > 0 && !startsLikeDatabase(layout.database))
      this.toPlain(database, readOwnership(layout, OWN))
    else this.discardIfEmpty(database)
  }

  /** Those that were there before; never rejects. */
  async #countLtxFiles(): Promise<void> {
    for (const database of [...this.all()]) await this.countAgain(database)
  }

  /** LTX files have come or gone otherwise than through the log and by retention. Never rejects. */
  async countAgain({ name, layout }: Database): Promise<void> {
    try {
      if (fs.existsSync(layout.ltxDir)) await this.feed.tally(layout.ltxDir).count()
    } catch (error) {
      this.#options.log.warn(`cannot count the LTX files of ${name}: ${describeError(error)}`)
    }
  }

  async #syncData(): Promise<void> {
    const dir = await fsp.open(this.#data.dbsDir, 'r')
    try {
      await syncFileSystem(dir.fd)
    } finally {
      await dir.close()
    }
  }
}
