import fs from 'node:fs'
import { setImmediate as soon } from 'node:timers/promises'
import { type LtxBody, readLtx, summarizeLtx } from '../db/ltx-body.js'
import type { Position } from '../ltx/names.js'
import { isWalMode } from '../sqlite/database-header.js'
import { BusyError, DatabaseLocks, releasing, retry } from './database-locks.js'
import { type DatabasePaths, databasePaths } from './database-paths.js'
import { type HeldJournal, holdJournal } from './hold-journal.js'
import { type Plan, planTransaction, writeAsLog, writeTransaction } from './rollback-write.js'
import { raiseSchemaCookie } from './schema-cookie.js'
import type { SeenVersion } from './seen-version.js'
import { hasFrames, hasLog, isHot, opensWithLog } from './side-files.js'
import { type ApplyOptions, openSqlite } from './sqlite-connection.js'
import { WalSession } from './wal-session.js'

/** How often a log with something left to do is looked after, and after how long without a transaction it is let go, milliseconds. */
const UPKEEP_MS = 1000
const IDLE_MS = 60_000
/** How long others are waited for in what is tried again, or must not keep a node from becoming the primary, milliseconds. */
const BRIEF_MS = 500
/** How long writers are waited for before the schema cookie is not raised, milliseconds: a replica waits for it. */
const COOKIE_MS = 5000
/** Each attempt after the first means that the database was recovered or changed its journal mode meanwhile. */
const MAX_ATTEMPTS = 10
/** As SQLite makes databases. */
const DATABASE_MODE = 0o644

export interface HoldOptions {
  readonly timeoutMs: number
  readonly recover: boolean
}

/** The lock of a writer: the WAL's, or RESERVED on the database file. */
type Held = { readonly session: WalSession; readonly fd?: undefined; readonly locks?: undefined } | HeldJournal

/** One database that transactions of another node are applied to, beside any number of readers. One call at a time. */
export class ReplicaDatabase {
  readonly #paths: DatabasePaths
  readonly #options: ApplyOptions
  readonly #report: (error: Error) => void
  #session: WalSession | undefined
  /** Calls and upkeep, one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #upkeep: NodeJS.Timeout | undefined
  /** Why upkeep fails, as it was told; empty when it does not. */
  #reported = ''
  #usedMs = 0
  /** What keeps other writers out. */
  #held: Held | undefined
  #seen: SeenVersion | undefined

  /** `database` is the path of the database file; `report` hears of upkeep that failed, which is tried again. */
  constructor(database: string, options: ApplyOptions, report: (error: Error) => void) {
    this.#paths = databasePaths(database)
    this.#options = options
    this.#report = report
  }

  /**
   * Applies the transactions of one LTX file, as one, and resolves to the position after it. The file must have been verified and must
   * follow what is there; applying it again changes nothing. When it rejects, readers see nothing of it. Those that have it locked are waited
   * for at most `busyTimeoutMs` milliseconds.
   */
  apply(body: LtxBody, busyTimeoutMs = this.#options.busyTimeoutMs): Promise<Position> {
    return this.#inTurn(async () => {
      const { header, after } = summarizeLtx(body)
      if (header.commit === 0) this.#drop(body)
      else await this.#applyPages(body, header.pageSize, busyTimeoutMs)
      // It may have changed the journal mode, and with it the lock that keeps others out.
      if (this.#held !== undefined) await this.#hold({ timeoutMs: busyTimeoutMs, recover: true })
      return after
    })
  }

  /** What connections may have cached, as far as it is known; undefined before anything was applied, and where there is no database. */
  get seen(): SeenVersion | undefined {
    return this.#seen
  }

  /** What was known of it by another process that is gone. */
  remember(seen: SeenVersion | undefined): void {
    this.#seen ??= seen
  }

  /**
   * Before others write to it, since this node becomes the primary: lets go of the database, but for a log that not everybody would notice to
   * have been. Resolves to whether there is one, which nobody else can end until `makeNoticed`. One that it cannot open in time counts too.
   */
  release(): Promise<boolean> {
    return this.#inTurn(async () => {
      this.#letGo()
      const wasOpen = this.#session !== undefined
      const isUnnoticed = await this.#hasUnnoticedLog()
      // What was opened to look at the log is not to be written to: nothing was announced.
      if (!isUnnoticed && wasOpen) this.#leave()
      else if (!isUnnoticed) this.#closeSession()
      return isUnnoticed
    })
  }

  /** Has everybody notice the log that `release` has left, and lets go of the database. For a primary. Throws BusyError, a system error. */
  makeNoticed(): Promise<void> {
    return this.#inTurn(async () => {
      const session = await this.#openLog(BRIEF_MS)
      await session?.makeNoticed(BRIEF_MS)
      if (this.#held === undefined) this.#leave()
    })
  }

  /**
   * Before connections that know other transactions get this database: has them read the schema again, whatever they know. For a primary. Throws
   * BusyError, SqliteError, and where the database is open here for another purpose.
   */
  raiseSchemaCookie(): Promise<void> {
    return this.#inTurn(async () => {
      const { database } = this.#paths
      if (this.#held !== undefined || this.#session !== undefined)
        throw new Error(`Cannot write to ${database}: it is held`)
      if (fs.statSync(database, { throwIfNoEntry: false })?.size)
        await raiseSchemaCookie(database, { ...this.#options, busyTimeoutMs: COOKIE_MS })
    })
  }

  /** Where nothing was ever applied nobody has cached what is not there. */
  async #hasUnnoticedLog(): Promise<boolean> {
    if (this.#session === undefined && (this.#seen === undefined || !hasFrames(this.#paths))) return false
    try {
      return (await this.#openLog(BRIEF_MS))?.isNoticed === false
    } catch (error) {
      if (error instanceof BusyError) return true
      throw error
    }
  }

  /** Has nothing of the database open, which is made if it is not there, so that it can be written by other means. False where it is held. */
  stepAside(): Promise<boolean> {
    return this.#inTurn(async () => {
      if (this.#held !== undefined) return false
      this.#leave()
      if (!fs.existsSync(this.#paths.database)) fs.closeSync(fs.openSync(this.#paths.database, 'wx', DATABASE_MODE))
      return true
    })
  }

  /** Lets go of the database, as a connection that is closed; the next transaction opens it again. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      this.#letGo()
      this.#leave()
    })
  }

  /**
   * Keeps other writers out until `letGo`, but for what is applied. Those at work are waited for, at most `timeoutMs` milliseconds: then it
   * rejects with BusyError. With `recover` what a writer that died has left in a rollback journal is undone.
   */
  hold(options: HoldOptions): Promise<void> {
    return this.#inTurn(() => this.#hold(options))
  }

  /** What was opened for it is closed, as by a process that ends. */
  letGo(): Promise<void> {
    return this.#inTurn(async () => {
      const hadLog = this.#held?.locks === undefined && this.#held !== undefined
      this.#letGo()
      if (hadLog && this.#session?.isNoticed) this.#closeSession()
    })
  }

  async #hold({ timeoutMs, recover }: HoldOptions): Promise<void> {
    const options = { ...this.#options, busyTimeoutMs: timeoutMs }
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      if (!fs.existsSync(this.#paths.database)) return
      if (opensWithLog(this.#paths)) {
        if (this.#held?.session !== undefined && this.#held.session === this.#session) return
        const session = await this.#openLog(timeoutMs)
        await session?.hold(timeoutMs)
        this.#letGo()
        if (session !== undefined) this.#held = { session }
      } else {
        if (this.#held?.locks !== undefined) return
        this.#letGo()
        this.#held = await holdJournal(this.#paths, options, recover)
      }
      if (this.#held !== undefined) return
    }
    throw new Error(`Cannot hold ${this.#paths.database}: its journal mode changes all the time`)
  }

  #letGo(): void {
    this.#held?.session?.letGo()
    if (this.#held?.fd !== undefined) fs.closeSync(this.#held.fd)
    this.#held = undefined
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }

  async #applyPages(body: LtxBody, pageSize: number, busyTimeoutMs: number): Promise<void> {
    this.#usedMs = performance.now()
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const session = await this.#openLog()
      if (session?.header.pageSize === pageSize) {
        await session.apply(body)
        if (session.isCheckpointDue) this.#keepUpNext()
        else this.#scheduleUpkeep()
        return
      }
      if (session !== undefined) await this.#endLog()
      if (await this.#applyWithJournal(body, session !== undefined, busyTimeoutMs)) return
    }
    throw new Error(`Cannot write to ${this.#paths.database}: its journal mode changes all the time`)
  }

  /** The session of a database with a log; undefined for one without, or none at all. */
  async #openLog(busyTimeoutMs = this.#options.busyTimeoutMs): Promise<WalSession | undefined> {
    if (this.#session === undefined && opensWithLog(this.#paths)) {
      this.#session = await WalSession.open(this.#paths, { ...this.#options, busyTimeoutMs }, this.#seen)
      this.#seen = this.#session?.seen
    }
    return this.#session
  }

  /** Waits until nobody else has the database open: a log cannot change its page size. */
  async #endLog(): Promise<void> {
    const { busyTimeoutMs, signal } = this.#options
    const what = `change the page size of ${this.#paths.database}, which connections have open in WAL mode`
    await retry(async () => (await this.#openLog()) === undefined || this.#endSession(), what, busyTimeoutMs, signal)
  }

  /**
   * False when the database turns out to have a log, or had to be recovered first: look again. One whose log has just `ended` still says
   * that it is in WAL mode; with EXCLUSIVE, and no log, that makes no difference.
   */
  async #applyWithJournal(body: LtxBody, ended: boolean, busyTimeoutMs: number): Promise<boolean> {
    const held = this.#held
    const fd = held?.fd ?? fs.openSync(this.#paths.database, fs.constants.O_RDWR | fs.constants.O_CREAT, DATABASE_MODE)
    const locks = held?.locks ?? new DatabaseLocks(fd)
    const { signal } = this.#options
    const what = `write to ${this.#paths.database}`
    let hot = false
    try {
      await retry(() => (locks.shared() && locks.reserved()) || releasing(locks), what, busyTimeoutMs, signal)
      hot = isHot(this.#paths, fd)
      if (hot || (ended ? hasFrames(this.#paths) : fs.fstatSync(fd).size > 0 && hasLog(this.#paths, fd))) return false
      const plan = planTransaction(fd, body, this.#seen)
      this.#seen = plan.seen
      await retry(() => locks.exclusive(), what, busyTimeoutMs, signal)
      hot = true
      await this.#write(fd, body, plan)
      hot = false
      return true
    } finally {
      if (held?.fd !== undefined && !hot) locks.downgrade()
      else {
        locks.unlock()
        fs.closeSync(fd)
        if (held?.fd !== undefined) this.#held = undefined
      }
      if (hot) (await openSqlite(this.#paths.database, this.#options)).close()
    }
  }

  async #write(fd: number, body: LtxBody, plan: Plan): Promise<void> {
    if (plan.pageCount === 0) for (const stale of [this.#paths.wal, this.#paths.shm]) fs.rmSync(stale, { force: true })
    if (plan.unnoticed) await writeAsLog(this.#paths, body, plan)
    else writeTransaction(fd, this.#paths, body, plan, this.#options.sync)
  }

  /** As on the node where it was dropped: the names go, and whoever has the files open keeps them. */
  #drop(body: LtxBody): void {
    // The whole file is checked before anything goes.
    readLtx(body, (reader) => [...reader.pages()])
    this.#session?.close()
    this.#session = undefined
    this.#seen = undefined
    // The database first: a log without its database is no danger to the next one of that name, a database without its log is torn.
    const { database, journal, wal, shm } = this.#paths
    for (const path of [database, journal, wal, shm]) fs.rmSync(path, { force: true })
  }

  /** Closes the session, and ends the log where nobody would miss it. */
  #leave(): void {
    if (this.#session?.isNoticed === false) this.#closeSession()
    else this.#endSession()
  }

  /** Closes the session; false where others keep the log in use. */
  #endSession(): boolean {
    const session = this.#session
    this.#session = undefined
    clearTimeout(this.#upkeep)
    this.#upkeep = undefined
    return session?.leave() ?? true
  }

  #closeSession(): void {
    clearTimeout(this.#upkeep)
    this.#upkeep = undefined
    this.#session?.close()
    this.#session = undefined
  }

  #scheduleUpkeep(): void {
    this.#upkeep ??= setTimeout(() => {
      this.#upkeep = undefined
      this.#keepUpNext()
    }, UPKEEP_MS)
  }

  /** When its turn comes. Who waits for the last transaction, which readers see by now, hears of it first. */
  #keepUpNext(): void {
    const upkeep = this.#inTurn(async () => {
      await soon()
      this.#keepUp()
    })
    upkeep.catch((error: Error) => {
      this.#reportOnce(error)
      this.#scheduleUpkeep()
    })
  }

  #reportOnce(cause: Error): void {
    if (cause.message === this.#reported) return
    this.#reported = cause.message
    this.#report(new Error(`Cannot look after the log of ${this.#paths.database}, trying again`, { cause }))
  }

  /** What readers stood in the way of: copying the log to the database, and going over to a rollback journal. */
  #keepUp(): void {
    const session = this.#session
    if (session === undefined) return
    const isHeld = this.#held !== undefined
    const done = session.checkpointed || ((!isHeld || session.isCheckpointDue) && session.checkpoint())
    this.#reported = ''
    const isOver = !isHeld && (performance.now() - this.#usedMs > IDLE_MS || (done && !isWalMode(session.header)))
    // As long as it is open, nobody else ends the log either.
    if (isOver && session.isNoticed) this.#leave()
    else this.#scheduleUpkeep()
  }
}
