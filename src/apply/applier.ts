import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { summarizeLtx } from '../db/ltx-body.js'
import { describeError, type Log } from '../log.js'
import type { Position } from '../ltx/names.js'
import { atMost } from './at-most.js'
import type { Gate, VerifiedLtx } from './gate.js'
import { KeptLogs } from './kept-logs.js'
import type { ApplierDeed, ApplierOutcome, ApplierReport, ApplierSettings } from './messages.js'
import { joined, runLength } from './run.js'
import type { SeenVersion } from './seen-version.js'

export interface ApplierOptions extends ApplierSettings {
  /** The compiled entry of the process, src/apply/main.ts. */
  readonly script: string
  readonly gate: Gate
  readonly log: Log
}

/** Bytes of LTX files that may wait for the applier at once; a file on disk counts as none. */
const MAX_WAITING_BYTES = 32 << 20
/** How often one transaction may see the process die before it counts as the reason. */
const MAX_DEATHS = 5
/** Wait before a process that died is started again, after the first time, milliseconds; doubled each time. */
const RESTART_MS = 50
/** How long what is being applied may take when the node ends, milliseconds: what waits for readers then is applied by its next run. */
const CLOSE_MS = 1000

interface Waiting {
  readonly database: string
  resolve(outcome: ApplierOutcome): void
  reject(error: Error): void
}

/** A transaction whose turn has not come. */
interface Queued {
  readonly ltx: VerifiedLtx
  resolve(position: Position): void
  reject(error: unknown): void
}

/** The process died under a command. */
class DeathError extends Error {
  override name = 'DeathError'
}

/**
 * Applies transactions to the databases of a directory, in a process of its own. A process that dies is started again, and what it was
 * doing is done again: half of a transaction is never seen.
 */
export class Applier {
  readonly #options: ApplierOptions
  readonly #waiting = new Map<number, Waiting>()
  readonly #last = new Map<string, Promise<unknown>>()
  readonly #queues = new Map<string, Queued[]>()
  readonly #room: (() => void)[] = []
  /** What connections may have cached, which a process that dies would forget. */
  readonly #seen = new Map<string, SeenVersion>()
  readonly #kept: KeptLogs
  #child: ChildProcess | undefined
  #nextId = 1
  #waitingBytes = 0
  #closed = false
  /** Since the last transaction that was applied. */
  #deathsInRow = 0

  constructor(options: ApplierOptions) {
    this.#options = options
    this.#kept = new KeptLogs(async (name) => {
      await this.#inTurn(name, () => this.#send(this.#running(), { type: 'makeNoticed', database: name }))
    }, options.log)
  }

  /**
   * Applies a file and resolves to the position after it: every reader that begins then sees it. Transactions of one database are applied in
   * the order of the calls, those that wait together as one. Rejects with readers seeing nothing of it; what waits behind it in its database
   * is then rejected too. The bytes must not change meanwhile.
   */
  async apply(name: string, ltx: VerifiedLtx): Promise<Position> {
    const bytes = 'bytes' in ltx.body ? ltx.body.bytes.length : 0
    while (this.#waitingBytes > 0 && this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      await new Promise<void>((resolve) => this.#room.push(resolve))
    }
    this.#waitingBytes += bytes
    try {
      return await this.#enqueue(name, ltx)
    } finally {
      this.#waitingBytes -= bytes
      for (const resolve of this.#room.splice(0)) resolve()
    }
  }

  /** Databases that transactions wait for, or are being applied to. */
  get busy(): readonly string[] {
    return [...this.#queues.keys()]
  }

  /** Of the process; undefined while there is none. */
  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Starts the process ahead of the first transaction. */
  prepare(): void {
    if (!this.#closed) this.#running()
  }

  /**
   * Lets go of a database: before this node becomes the primary, and others write to it. A log that connections might not notice to have been
   * is kept until `lead` sees to that.
   */
  async release(name: string): Promise<void> {
    await this.#inTurn(name, async () => {
      // One that has died may have left such a log.
      const child = this.#seen.has(name) ? this.#running() : this.#child
      if (child === undefined) return
      const outcome = await this.#sendOrDead(child, { type: 'release', database: name })
      this.#kept.set(name, outcome?.isKept ?? false)
    })
  }

  /** See ReplicaDatabase. For a primary. */
  async raiseSchemaCookie(name: string): Promise<void> {
    await this.#inTurn(name, () => this.#send(this.#running(), { type: 'raiseSchemaCookie', database: name }))
  }

  /** This node is the primary until `signal` is aborted, and may make transactions of its own. */
  lead(signal: AbortSignal): void {
    this.#kept.lead(signal)
  }

  /**
   * Keeps other writers out of databases that nothing is applied to, until `letGo`; those at work are waited for, at most `timeoutMs`
   * milliseconds. What one that died has left in a rollback journal is undone first, if that is wanted. Resolves to the process that does
   * it, and why it cannot in some databases.
   */
  async hold(
    names: readonly string[],
    { timeoutMs, recover }: { readonly timeoutMs: number; readonly recover: boolean },
  ): Promise<{ pid: number; failures: Error[] }> {
    const child = this.#running()
    const failures: Error[] = []
    const hold = async (database: string) => {
      try {
        await this.#inTurn(database, () => this.#send(child, { type: 'hold', database, timeoutMs, recover }))
      } catch (error) {
        failures.push(error as Error)
      }
    }
    await Promise.all(names.map(hold))
    return { pid: child.pid ?? 0, failures }
  }

  /** Applies a transaction by itself, to a database that is held. Readers that keep it locked are waited for at most `timeoutMs`. */
  async applyHeld(name: string, ltx: VerifiedLtx, timeoutMs: number): Promise<Position> {
    return await this.#inTurn(name, () => this.#applyNow(name, ltx, timeoutMs))
  }

  async letGo(names: readonly string[]): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    await Promise.all(names.map((database) => this.#sendOrDead(child, { type: 'letGo', database })))
  }

  /** Resolves when the process has ended. What is being applied is finished first, or rejected where others are in its way. */
  async close(): Promise<void> {
    this.#closed = true
    const settled = Promise.allSettled(this.#last.values())
    await atMost(settled, CLOSE_MS)
    const exited = this.#child && once(this.#child, 'exit')
    this.#child?.disconnect()
    await Promise.all([exited, settled])
  }

  #enqueue(name: string, ltx: VerifiedLtx): Promise<Position> {
    const queue = this.#queues.get(name) ?? []
    this.#queues.set(name, queue)
    return new Promise((resolve, reject) => {
      queue.push({ ltx, resolve, reject })
      if (queue.length === 1) void this.#inTurn(name, () => this.#applyQueue(name, queue))
    })
  }

  /** Never rejects: each transaction's caller hears of it. */
  async #applyQueue(name: string, queue: Queued[]): Promise<void> {
    // Of those that wait together some may be there already.
    let apart = false
    while (queue.length > 0) {
      const run = queue.slice(0, apart ? 1 : runLength(queue.map(({ ltx }) => ltx)))
      try {
        const position = await this.#applyNow(name, joined(run.map(({ ltx }) => ltx)))
        queue.splice(0, run.length)
        for (const { ltx, resolve } of run) {
          resolve(ltx.maxTxid === position.txid ? position : { txid: ltx.maxTxid, checksum: ltx.postApply })
        }
      } catch (error) {
        if (run.length > 1) apart = true
        else for (const { reject } of queue.splice(0)) reject(error)
      }
    }
    this.#queues.delete(name)
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const result = (this.#last.get(name) ?? Promise.resolve()).then(work)
    const settled = result.catch(() => {})
    this.#last.set(name, settled)
    void settled.then(() => {
      if (this.#last.get(name) === settled) this.#last.delete(name)
    })
    return result
  }

  async #applyNow(name: string, ltx: VerifiedLtx, timeoutMs?: number): Promise<Position> {
    const { gate, log } = this.#options
    const after = { txid: ltx.maxTxid, checksum: ltx.postApply }
    for (let deaths = 0; ; ) {
      if (this.#closed) throw new Error(`Cannot apply a transaction to ${name}: the node is stopping`)
      const child = this.#running()
      if (!(await gate.announce(name, ltx, child.pid ?? 0))) return after
      let applied = false
      try {
        applied = ltx.minTxid === 1n && (await this.#fill(child, name, ltx))
        if (!applied) await this.#send(child, { type: 'apply', database: name, body: ltx.body, timeoutMs })
        applied = true
        this.#deathsInRow = 0
      } catch (error) {
        if (!(error instanceof DeathError) || ++deaths === MAX_DEATHS) throw error
        // Of one that dies again and again, ever more rarely.
        if (Number.isInteger(Math.log2(++this.#deathsInRow)))
          log.warn(`${error.message} while it applied a transaction to ${name}, starting it again`)
        await delay(RESTART_MS * 2 ** (deaths - 1))
      } finally {
        await gate.conclude(name, ltx, applied)
      }
      if (applied) return after
    }
  }

  /** A database that is not there yet is nobody's, and needs no writer like any other. False where it is there, or in use. */
  async #fill(child: ChildProcess, name: string, { body }: VerifiedLtx): Promise<boolean> {
    if (summarizeLtx(body).header.commit === 0) return false
    const { isAside } = await this.#send(child, { type: 'stepAside', database: name })
    return isAside && (await this.#options.gate.fill(name))
  }

  #send(child: ChildProcess, deed: ApplierDeed): Promise<ApplierOutcome> {
    if (child !== this.#child) return Promise.reject(new DeathError('the applier ended'))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { database: deed.database, resolve, reject })
      // An error means that the channel has closed; the exit, which follows, tells everybody who waits.
      child.send({ ...deed, id, seen: this.#seen.get(deed.database) }, () => {})
    })
  }

  /** A process that has died holds nothing. */
  async #sendOrDead(child: ChildProcess, deed: ApplierDeed): Promise<ApplierOutcome | undefined> {
    try {
      return await this.#send(child, deed)
    } catch (error) {
      if (!(error instanceof DeathError)) throw error
      return undefined
    }
  }

  #running(): ChildProcess {
    this.#child ??= this.#start()
    return this.#child
  }

  #start(): ChildProcess {
    const { script, dir, sync, busyTimeoutMs } = this.#options
    const settings: ApplierSettings = { dir, sync, busyTimeoutMs }
    const child = fork(script, [JSON.stringify(settings)], {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    child.on('message', (message: ApplierReport) => this.#hear(message))
    const lost = (message: string) => {
      if (child === this.#child) this.#lost(new DeathError(message))
    }
    child.on('error', (error) => lost(`the applier cannot be started: ${error.message}`))
    child.on('exit', (code, signal) => lost(`the applier ended with ${signal ?? `code ${code}`}`))
    return child
  }

  #lost(error: Error): void {
    this.#child = undefined
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(error)
  }

  #hear(message: ApplierReport): void {
    if (message.type === 'warning') {
      this.#options.log.warn(describeError(message.error))
      return
    }
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (waiting === undefined) return
    if (message.type === 'failed') {
      waiting.reject(message.error)
      return
    }
    const { seen } = message.outcome
    if (seen === undefined) this.#seen.delete(waiting.database)
    else this.#seen.set(waiting.database, seen)
    waiting.resolve(message.outcome)
  }
}
