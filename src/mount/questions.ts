import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from '../db/database.js'
import { fill } from '../db/fill.js'
import type { PageFreeze } from '../db/page-freeze.js'
import type { ReceivedLtx } from '../db/reception.js'
import { describeError, type Log } from '../log.js'
import type { Position } from '../ltx/names.js'
import type { Store } from '../store/store.js'
import type { Access } from './access.js'
import type { Following } from './following.js'
import { HaltQuestions, type HaltQuestionsParts } from './halt-questions.js'
import type { Answers, DatabaseStatus, Question } from './messages.js'
import { canBeDatabase } from './names.js'
import type { PositionBoard } from './position-board.js'
import type { Rejections } from './rejections.js'
import { Superseding } from './superseding.js'

/** How long a reader may take to make a wal-index, in looks and milliseconds between them. */
const RECOVERY_LOOKS = 400
const RECOVERY_PAUSE_MS = 5

/** How long files may take to be closed, in looks and milliseconds between them. */
const CLOSING_LOOKS = 100
const CLOSING_PAUSE_MS = 5

export interface QuestionParts extends HaltQuestionsParts {
  readonly following: Following
  readonly rejections: Rejections
  readonly board: PositionBoard
  readonly log: Log
  /** Has the kernel forget what it knows of a database file. */
  readonly invalidate: (name: string) => Promise<void>
}

/** Answers what the main thread asks about the databases. */
export class Questions {
  readonly #store: Store
  readonly #access: Access
  readonly #following: Following
  readonly #rejections: Rejections
  readonly #board: PositionBoard
  readonly #log: Log
  readonly #invalidate: (name: string) => Promise<void>
  readonly #halts: HaltQuestions
  readonly #freezes = new Map<number, { database: Database; freeze: PageFreeze }>()
  #lastFreezeId = 0
  #hasLed = false
  readonly #superseding: Superseding

  constructor(store: Store, parts: QuestionParts) {
    const { access, following, rejections, board, log, invalidate } = parts
    this.#store = store
    this.#access = access
    this.#halts = new HaltQuestions(store, parts)
    this.#superseding = new Superseding(store, log)
    this.#following = following
    this.#rejections = rejections
    this.#board = board
    this.#log = log
    this.#invalidate = invalidate
  }

  /** Rejects with a system error, or what prevents it. */
  async answer(question: Question): Promise<Answers[keyof Answers]> {
    switch (question.kind) {
      case 'databases':
        return Array.from(this.#store.all(), (database) => this.#status(database)).filter(
          ({ position }) => position.txid > 0n,
        )
      case 'positions':
        return await this.#positions()
      case 'follow':
        if (question.pace === 'off') this.#store.unfollow()
        else await this.#store.follow(question.pace)
        return undefined
      case 'freeze':
        return await this.#freeze(question.name)
      case 'thaw':
        this.#thaw(question.freezeId)
        return undefined
      case 'receive':
        await this.#receive(question.primary, question.pid)
        return undefined
      case 'lead':
        this.#lead(question.late)
        return undefined
      case 'current':
        this.#following.currentMs = question.timestampMs
        return undefined
      case 'needed':
        this.#store.retention.needed = question.txids
        return undefined
      case 'announce':
        return await this.#announce(question.name, question.ltx, question.pid)
      case 'fill':
        return await this.#fill(question.name)
      case 'conclude':
        return await this.#conclude(question.name, question.applied)
      case 'halt':
        return await this.#halts.halt(question.name, question.pid)
      case 'unhalt':
        this.#halts.unhalt(question.name)
        return undefined
      case 'reserve':
        return this.#halts.reserve(question.name)
      case 'secure':
        return await this.#halts.secure(question.name)
      case 'forward':
        return await this.#halts.forward(question.name, question.position)
      case 'unforward':
        this.#halts.unforward(question.name)
        return undefined
    }
  }

  async #receive(primary: string | undefined, pid: number | undefined): Promise<void> {
    const isChange = !this.#following.replica
    this.#following.replica = true
    this.#following.primary = primary
    if (!isChange) return
    // A primary lacked nothing until now.
    if (this.#hasLed) this.#following.currentMs = Date.now()
    // No process has the id -1: until one is announced, nobody may write.
    this.#access.onlyWriter = pid ?? -1
    this.#access.forgetHalts(this.#store.all())
    for (const database of this.#store.all()) this.#receiveInto(database)
    await this.#store.makeFinal()
  }

  /** What cannot be captured is told of, and found again when the primary's transactions do not fit. */
  #receiveInto(database: Database): void {
    try {
      database.receive(true)
    } catch (error) {
      this.#log.error(`cannot capture what was written without a journal to ${database.name}: ${describeError(error)}`)
      database.committer.reception.receiving = true
    }
  }

  #lead(late: readonly string[]): void {
    const applier = this.#access.onlyWriter
    this.#hasLed = true
    this.#following.replica = false
    this.#following.primary = undefined
    this.#access.onlyWriter = undefined
    this.#access.forgetHalts(this.#store.all())
    for (const name of late) this.#access.halt(this.#store.getOrCreate(name), applier)
    for (const database of this.#store.all()) if (!this.#access.isHalted(database)) database.receive(false)
  }

  async #announce(name: string, ltx: ReceivedLtx, pid: number): Promise<boolean> {
    const known = this.#store.get(name)
    const isHalted = known !== undefined && this.#access.isHalted(known)
    if (this.#access.onlyWriter === undefined && !isHalted)
      throw new Error(`Cannot apply a transaction to ${name}: this node is no replica`)
    // What is written under another database's name for its WAL, say, would become its WAL.
    if (!canBeDatabase(name))
      throw new Error(`Cannot apply a transaction to ${name}: the mount has something else under such names`)
    const database = this.#store.getOrCreate(name)
    if (await this.#halts.isOwn(database, ltx)) return false
    database.committer.reception.receiving = true
    // A writer that died may have left it unclear whether the last one counts.
    await this.#store.settle(database)
    if (isHalted) this.#access.halt(database, pid)
    else this.#access.onlyWriter = pid
    try {
      const wanted = database.committer.reception.announce(ltx, database.position)
      // Directories are nobody's transaction.
      if (wanted) this.#store.local.makeParents(name)
      if (wanted) await this.#superseding.prepare(database, ltx)
      return wanted
    } catch (error) {
      this.#store.discardIfEmpty(database)
      throw error
    }
  }

  async #fill(name: string): Promise<boolean> {
    const database = this.#store.getOrCreate(name)
    // The kernel tells of a file that was closed when it gets to it.
    const isClosing = () => database.position.txid === 0n && !database.files.atRest
    for (let looks = 0; isClosing() && looks < CLOSING_LOOKS; looks++) await delay(CLOSING_PAUSE_MS)
    const isDone = await fill(database, () => this.#invalidate(name))
    if (isDone) this.#store.feed.schedule()
    return isDone
  }

  async #conclude(name: string, applied: boolean): Promise<Position> {
    const database = this.#store.getOrCreate(name)
    const { announced, refusal, isEmpty } = database.committer.reception
    // A database that the primary has dropped, and this node never had: nobody writes anything.
    if (applied && isEmpty) database.files.makeDirectories()
    database.committer.concludeReceived(applied)
    // Readers meet the journal of an applier that was killed before the next one does.
    if (!applied) database.onlyUndo()
    await this.#store.settle(database)
    if (applied) await this.#settleRecovered(database)
    const { position } = database
    this.#board.updateAll(this.#store)
    if (announced !== undefined) this.#superseding.conclude(database, announced)
    this.#store.discardIfEmpty(database)
    if (!applied && refusal !== undefined) throw new Error(`Cannot write to ${name}`, { cause: refusal })
    return position
  }

  /** A log that was written without a wal-index may have a reader by now, who is making one. */
  async #settleRecovered(database: Database): Promise<void> {
    for (let looks = 0; database.provisional && looks < RECOVERY_LOOKS; looks++) {
      await delay(RECOVERY_PAUSE_MS)
      await this.#store.settle(database)
    }
  }

  async #freeze(name: string): Promise<Answers['freeze']> {
    const database = this.#store.get(name)
    const freeze = database && (await this.#store.freeze(database))
    if (database === undefined || freeze === undefined) return undefined
    const freezeId = ++this.#lastFreezeId
    this.#freezes.set(freezeId, { database, freeze })
    return { freezeId, pages: freeze.pages }
  }

  #thaw(freezeId: number): void {
    const frozen = this.#freezes.get(freezeId)
    this.#freezes.delete(freezeId)
    frozen?.database.freezes.end(frozen.freeze)
  }

  /**
   * Who asks has heard from an application that its transaction is committed, so that the wal-index covers it. Where that cannot be read, or
   * another transaction has begun meanwhile, the newest one counts, which that one follows or is.
   */
  async #positions(): Promise<readonly bigint[]> {
    const txids: bigint[] = []
    for (const name of this.#board.names) {
      const database = this.#store.get(name)
      if (database !== undefined) await this.#store.settle(database)
      txids.push((database?.provisional ? database.state.txid : database?.position.txid) ?? 0n)
    }
    this.#board.updateAll(this.#store)
    return txids
  }

  #status(database: Database): DatabaseStatus {
    const { name, layout, files, journalMode, lastCommitMs, writeCounts, state } = database
    const { feed } = this.#store
    return {
      name,
      position: feed.durablePosition(database),
      pageSize: state.pageSize,
      pageCount: state.pageCount,
      journalMode,
      lastCommitMs,
      commitCount: feed.commitCount(database),
      ltx: feed.tally(layout.ltxDir).counts,
      rejectedWriteCount: this.#rejections.count(name),
      supersededCount: this.#superseding.count(name),
      isOpen: files.isOpen('database'),
      writeCounts: { ...writeCounts },
    }
  }
}
