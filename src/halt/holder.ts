import { stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { abortedAfter } from '../aborted-after.js'
import type { Applier } from '../apply/applier.js'
import type { SingleLtx } from '../db/ltx-body.js'
import {
  commitThere,
  type HaltTarget,
  RefusedError,
  releaseHalt,
  type TakenLock,
  takeHalt,
} from '../http/halt-client.js'
import { describeError, type Log } from '../log.js'
import { formatPosition } from '../ltx/names.js'
import { monotonicMs } from '../monotonic.js'
import type { FileSystemThread } from '../mount/file-system-thread.js'
import { ltxBytes } from '../replication/ltx-bodies.js'
import { GONE_MS, HALT_ACQUIRE_MS } from './desk.js'
import { HALT_TTL_MS } from './ttl.js'

export interface HaltHolderParts {
  readonly thread: FileSystemThread
  readonly applier: Applier
  /** Undefined on the primary; without `target` while there is none. */
  readonly primary: () => { readonly target: HaltTarget | undefined } | undefined
  /** The stream's idea of where a database stands does not hold any more. */
  readonly forget: (name: string) => void
  /** How long a lock lasts after it was last renewed, milliseconds. */
  readonly ttlMs: number
  readonly log: Log
}

/** Pause between two looks at whether this node is where the primary is, milliseconds. */
const LOOK_MS = 5
/** Pause before a renewal that failed is tried again, and how long any may take, milliseconds. */
const RETRY_MS = 1000
/** How long the primary has to let a database go that this node wants no more, milliseconds: else the lock expires. */
const RELEASE_MS = 3000
/** How long the primary may take to commit, milliseconds, and bytes of a transaction that are good for a second more. */
const COMMIT_MS = 30_000
const COMMIT_BYTES_PER_SECOND = 1 << 20

interface Held {
  readonly name: string
  readonly id: number
  readonly target: HaltTarget
  readonly isOurs: boolean
  /** When it has expired for sure, of `monotonicMs`. */
  deadlineMs: number
  /** Aborted when it is lost. */
  readonly lost: AbortController
}

/** The halt locks that this replica holds: their databases can be written here, each transaction being committed on the primary first. */
export class HaltHolder {
  readonly #parts: HaltHolderParts
  readonly #held = new Map<string, Held>()
  /** Those that the primary has been asked for, by their ids; aborted when nobody wants them any more. */
  readonly #asked = new Map<number, AbortController>()
  #forwarded = 0
  #failed = 0

  constructor(parts: HaltHolderParts) {
    this.#parts = parts
  }

  get count(): number {
    return this.#held.size
  }

  /** Transactions that the primary has committed for this node, and those that it has not, or of which nobody knows. */
  get counts(): { readonly forwarded: number; readonly failed: number } {
    return { forwarded: this.#forwarded, failed: this.#failed }
  }

  /**
   * Takes the halt lock of a database and has it written here. Resolves to false on the primary, where nothing is needed. Rejects with an error
   * whose `code` is an errno's: EHOSTUNREACH without a primary that answers, EACCES where that refuses, EAGAIN when it took too long.
   */
  async take(name: string, id: number): Promise<boolean> {
    const { log } = this.#parts
    const primary = this.#parts.primary()
    if (primary === undefined) return false
    try {
      const { target } = primary
      if (target === undefined) throw coded('EHOSTUNREACH', 'there is no primary')
      await this.#take(name, id, target)
      log.info(`halt lock of ${name} taken: it can be written here`, { db: name, primary: target.url })
      return true
    } catch (error) {
      log.warn(`cannot take the halt lock of ${name}: ${describeError(error)}`, { db: name })
      throw error
    }
  }

  /** Nobody writes here any more. Never rejects: a lock that the primary cannot be told of expires there. */
  async release(name: string, id: number): Promise<void> {
    this.#asked.get(id)?.abort(new Error('nobody wants the halt lock any more'))
    const held = this.#held.get(name)
    if (held?.id !== id) return
    this.#held.delete(name)
    try {
      await this.#parts.thread.ask({ kind: 'unforward', name })
      await this.#giveBack(name, id, held.target)
    } finally {
      held.lost.abort(new Error('the halt lock was released'))
    }
  }

  /** Never rejects. */
  async #giveBack(name: string, id: number, target: HaltTarget): Promise<void> {
    const { log } = this.#parts
    try {
      await releaseHalt(target, name, id, AbortSignal.timeout(RELEASE_MS))
      log.info(`halt lock of ${name} released`, { db: name })
    } catch (error) {
      log.warn(`cannot release the halt lock of ${name}, it will expire: ${describeError(error)}`, { db: name })
    }
  }

  /** Has the primary commit a transaction. Rejects when it does not, or nobody knows. */
  async commit(name: string, ltx: SingleLtx): Promise<void> {
    const held = this.#held.get(name)
    try {
      if (held === undefined || monotonicMs() >= held.deadlineMs)
        throw new Error('the halt lock has expired, was released, or the primary has changed')
      await this.#send(held, ltx)
      this.#forwarded++
    } catch (error) {
      this.#failed++
      const why = describeError(error)
      this.#parts.log.warn(`a transaction of ${name} is rolled back, the primary has not confirmed it: ${why}`, {
        db: name,
      })
      if (error instanceof RefusedError && error.statusCode === 409 && held !== undefined) await this.#lose(held, why)
      throw coded('EIO', why)
    }
  }

  /** All locks are lost: there is another primary, or this node becomes it, or ends. Those who write can only take back what they do. */
  async close(why: string): Promise<void> {
    for (const asked of this.#asked.values()) asked.abort(new Error(why))
    await Promise.all([...this.#held.values()].map((held) => this.#lose(held, why)))
  }

  /** Lets go of all locks, before this node ends. */
  async releaseAll(): Promise<void> {
    await Promise.all([...this.#held.values()].map(({ name, id }) => this.release(name, id)))
  }

  async #take(name: string, id: number, target: HaltTarget): Promise<void> {
    const { thread, applier, forget, ttlMs } = this.#parts
    const startMs = monotonicMs()
    const lock = await this.#ask(name, id, target)
    const held: Held = {
      name,
      id,
      target,
      isOurs: lock.isOurs,
      deadlineMs: startMs + (lock.isOurs ? ttlMs : HALT_TTL_MS),
      lost: new AbortController(),
    }
    this.#held.set(name, held)
    try {
      while (!(await thread.ask({ kind: 'forward', name, position: lock.position }))) {
        if (monotonicMs() > startMs + HALT_ACQUIRE_MS)
          throw coded('EAGAIN', `this node has not reached ${formatPosition(lock.position)}, where the primary is`)
        await delay(LOOK_MS)
      }
      forget(name)
      // A connection of its own would keep an application from changing the journal mode.
      await applier.release(name)
      if (this.#held.get(name) !== held) {
        // After it was lost, or released, it may have been forwarded once more.
        if (!this.#held.has(name)) await thread.ask({ kind: 'unforward', name })
        throw coded('EHOSTUNREACH', 'the halt lock was released, or the primary has changed, meanwhile')
      }
    } catch (error) {
      await this.release(name, id)
      throw error
    }
    if (lock.isOurs) void this.#renew(held)
    else void this.#expire(held)
  }

  async #ask(name: string, id: number, target: HaltTarget): Promise<TakenLock> {
    const asked = new AbortController()
    this.#asked.set(id, asked)
    const signal = abortedAfter(HALT_ACQUIRE_MS + RETRY_MS, asked.signal)
    try {
      return await answered(takeHalt(target, { name, id, renew: false }, signal))
    } catch (error) {
      // It may be given all the same, and keep the primary's writers waiting.
      if (signal.aborted) void this.#giveBack(name, id, target)
      throw error
    } finally {
      this.#asked.delete(id)
    }
  }

  /** Until it is lost. */
  async #renew(held: Held): Promise<void> {
    const { ttlMs } = this.#parts
    const { signal } = held.lost
    // Often enough to say that this node lives after its stream was cut.
    const usualMs = Math.min(ttlMs, GONE_MS) / 3
    let pauseMs = usualMs
    while (await paused(pauseMs, signal)) {
      const startMs = monotonicMs()
      if (startMs >= held.deadlineMs) return await this.#lose(held, 'the primary could not be reached in time')
      try {
        await this.#askAgain(held)
        held.deadlineMs = startMs + ttlMs
        pauseMs = usualMs
      } catch (error) {
        if (signal.aborted) return
        if (error instanceof RefusedError) return await this.#lose(held, describeError(error))
        pauseMs = Math.min(RETRY_MS, ttlMs / 10)
      }
    }
  }

  async #askAgain({ target, name, id, lost }: Held): Promise<TakenLock> {
    const signal = abortedAfter(Math.max(RETRY_MS, Math.ceil(this.#parts.ttlMs / 3)), lost.signal)
    return await takeHalt(target, { name, id, renew: true }, signal)
  }

  /** LiteFS renews no locks. */
  async #expire(held: Held): Promise<void> {
    if (await paused(held.deadlineMs - monotonicMs(), held.lost.signal)) await this.#lose(held, 'it has expired')
  }

  async #send({ name, id, target, isOurs, lost }: Held, ltx: SingleLtx): Promise<void> {
    const bytes = ltxBytes(ltx, { version: isOurs ? 3 : 1, compress: true })
    const size = 'bytes' in ltx ? ltx.bytes.length : (await stat(ltx.path)).size
    const timeoutMs = COMMIT_MS + Math.ceil((1000 * size) / COMMIT_BYTES_PER_SECOND)
    const signal = abortedAfter(timeoutMs, lost.signal)
    await commitThere(target, { name, id, ltx: bytes }, signal)
  }

  async #lose(held: Held, why: string): Promise<void> {
    const { thread, log } = this.#parts
    if (this.#held.get(held.name) !== held) return
    this.#held.delete(held.name)
    held.lost.abort(new Error(why))
    log.warn(`halt lock of ${held.name} is lost, it cannot be written here any more: ${why}`, { db: held.name })
    await thread.ask({ kind: 'unforward', name: held.name })
  }
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** What the primary answers, or why it does not, with the errno that says so. */
async function answered(lock: Promise<TakenLock>): Promise<TakenLock> {
  try {
    return await lock
  } catch (error) {
    const why = describeError(error)
    if (!(error instanceof RefusedError)) throw coded('EHOSTUNREACH', `the primary cannot be reached: ${why}`)
    throw coded(error.statusCode >= 500 ? 'EAGAIN' : 'EACCES', `the primary refuses: ${why}`)
  }
}

/** False when the signal was aborted before. */
async function paused(ms: number, signal: AbortSignal): Promise<boolean> {
  return await delay(Math.max(0, ms), undefined, { signal }).then(
    () => true,
    () => false,
  )
}
