import { setTimeout as delay, setImmediate as soon } from 'node:timers/promises'
import type { Database } from '../db/database.js'
import type { ReceivedLtx } from '../db/reception.js'
import { formatPosition, type Position } from '../ltx/names.js'
import type { Store } from '../store/store.js'
import type { Access } from './access.js'
import type { MainThread } from './main-thread.js'

/** Pause between two looks at a writer that is between its commit and its wal-index, and the longest time for that, milliseconds. */
const LOOK_MS = 2
const LONGEST_LOOK_MS = 60_000

/** No process has this id. */
const NOBODY = -1

export interface HaltQuestionsParts {
  readonly access: Access
  readonly main: MainThread
  /** See MountView. */
  readonly isWalLocked: (name: string) => boolean | undefined
}

/** What the main thread asks because of halt locks: on a primary for another node, on a replica for programs of its own. */
export class HaltQuestions {
  readonly #store: Store
  readonly #access: Access
  readonly #main: MainThread
  readonly #isWalLocked: (name: string) => boolean | undefined

  constructor(store: Store, { access, main, isWalLocked }: HaltQuestionsParts) {
    this.#store = store
    this.#access = access
    this.#main = main
    this.#isWalLocked = isWalLocked
  }

  /** See Question. Rejects when this node is not the primary, or with a system error. */
  async halt(name: string, pid: number): Promise<Position | undefined> {
    const database = this.#store.get(name)
    if (database === undefined || database.state.pageCount === 0) return undefined
    if (this.#access.onlyWriter !== undefined) throw new Error(`Cannot halt ${name}: this node is not the primary`)
    this.#access.halt(database, pid)
    try {
      database.receive(true)
      return await this.secure(name)
    } catch (error) {
      this.unhalt(name)
      throw error
    }
  }

  unhalt(name: string): void {
    const database = this.#store.get(name)
    if (database === undefined || !this.#access.isHalted(database)) return
    this.#access.halt(database, undefined)
    database.receive(false)
    this.#store.discardIfEmpty(database)
  }

  /** See Question. Rejects when this node is not the primary. */
  reserve(name: string): boolean {
    if (this.#access.onlyWriter !== undefined) throw new Error(`Cannot make ${name}: this node is not the primary`)
    const known = this.#store.get(name)
    if (known !== undefined && (known.state.txid > 0n || known.files.exists('database'))) return false
    const database = this.#store.getOrCreate(name)
    this.#access.halt(database, NOBODY)
    database.receive(true)
    return true
  }

  async secure(name: string): Promise<Position> {
    const database = this.#store.get(name)
    if (database === undefined) throw new Error(`Cannot bring ${name} to the disk: there is no such database`)
    await this.#store.settle(database)
    database.committer.ensureDurable()
    this.#store.feed.flush()
    return database.position
  }

  /** See Question. Rejects when the database has gone another way. */
  async forward(name: string, wanted: Position): Promise<boolean> {
    const database = this.#store.get(name)
    if (database === undefined) throw new Error(`Cannot write to ${name}: there is no such database`)
    if (this.#access.onlyWriter === undefined) throw new Error(`Cannot forward ${name}: this node is no replica`)
    await this.#store.settle(database)
    const { position, provisional, committer } = database
    if (position.txid < wanted.txid || provisional || committer.reception.announced !== undefined) return false
    if (position.txid !== wanted.txid || position.checksum !== wanted.checksum) {
      const where = `it is at ${formatPosition(position)}, the primary at ${formatPosition(wanted)}`
      throw new Error(`Cannot forward ${name}: ${where}`)
    }
    committer.forwarding.start(async (ltx) => {
      await this.#main.ask({ kind: 'commit', name, ltx })
    })
    return true
  }

  unforward(name: string): void {
    const database = this.#store.get(name)
    if (database === undefined || !database.committer.forwarding.active) return
    database.committer.forwarding.stop()
    // Who is in a transaction can only take it back.
    database.onlyUndo()
  }

  /**
   * Whether what has arrived was committed by this node under a halt lock, and is here. Resolves when it is known how a transaction that waits
   * for the primary has ended, and whether one that is in the WAL will be seen: one whose writer died before is written again.
   */
  async isOwn(database: Database, { maxTxid, postApply }: ReceivedLtx): Promise<boolean> {
    const { forwarding } = database.committer
    while (forwarding.undecided !== undefined) {
      await forwarding.undecided.decided
      await soon()
    }
    if (!forwarding.knows(maxTxid, postApply)) return false
    const deadlineMs = performance.now() + LONGEST_LOOK_MS
    while (database.provisional && performance.now() < deadlineMs) {
      // Looked at first: a writer that has ended has said before whether its transaction counts.
      const isWriting = this.#isWalLocked(database.name)
      await this.#store.settle(database)
      if (isWriting !== true) break
      await delay(LOOK_MS)
    }
    return forwarding.isOwn(maxTxid, postApply, database.position.txid)
  }
}
