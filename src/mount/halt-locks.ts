import { randomInt } from 'node:crypto'
import { constants } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { FuseError } from '../fuse/errno.js'

const { EAGAIN, EINTR, ENOLCK } = constants.errno

/** Longest wait for another program of this node that has the lock, milliseconds: as long as LiteFS waits for the lock itself. */
const WAIT_MS = 10_000
/** A program that got a signal while it waited has so long to ask again, milliseconds: the kernel itself does it where it may. */
const LINGER_MS = 1000
/** Ids are random, below 2^48, and not 0, which is none in LiteFS. */
const ID_LIMIT = 2 ** 48 - 1

/** Takes and releases halt locks for this node; see HaltHolder. */
export interface HaltTaker {
  /** Resolves to false where no lock is needed: this node is the primary. Rejects with FuseError or an error that has an errno's `code`. */
  take(name: string, lockId: number): Promise<boolean>
  /** Never rejects. */
  release(name: string, lockId: number): Promise<void>
}

/** Who locks: an open file, and what the kernel calls the owner. */
export interface LockOwner {
  readonly fh: number
  readonly owner: bigint
}

interface Held extends LockOwner {
  readonly name: string
  readonly lockId: number
  /** Resolves to whether it keeps others out. */
  readonly taken: Promise<boolean>
  /** Nobody waits for it any more. */
  abandoned: boolean
  /** Resolves when it is released. */
  readonly released: Promise<void>
  release(): void
}

/** The halt locks that programs of this node hold: one for each database at a time, except on the primary, where none is needed. */
export class HaltLocks {
  readonly #taker: HaltTaker
  readonly #held = new Set<Held>()

  constructor(taker: HaltTaker) {
    this.#taker = taker
  }

  /** Whether somebody else has it. */
  isHeld(name: string, owner: bigint): boolean {
    return [...this.#held].some((held) => held.name === name && held.owner !== owner)
  }

  /**
   * Resolves when this owner has the lock. Rejects with EAGAIN where another has it (for as long as may be waited), with EINTR when the signal
   * is aborted, and with what the taker rejects with.
   */
  async lock(name: string, by: LockOwner, wait: boolean, signal: AbortSignal): Promise<void> {
    const deadlineMs = performance.now() + WAIT_MS
    for (;;) {
      const other = [...this.#held].find((held) => held.name === name)
      if (other === undefined) break
      if (other.owner === by.owner) return await this.#untilTaken(other, signal)
      if (!wait || performance.now() > deadlineMs) throw new FuseError(EAGAIN)
      await unlessAborted(Promise.race([other.released, delay(deadlineMs - performance.now())]), signal)
    }
    await this.#untilTaken(this.#take(name, by), signal)
  }

  /** This owner has it no more. Resolves when others can have it. */
  async unlock(fh: number, owner: bigint): Promise<void> {
    await Promise.all(
      [...this.#held].filter((held) => held.fh === fh && held.owner === owner).map((held) => this.#release(held)),
    )
  }

  /** The file is closed by everybody. */
  closed(fh: number): void {
    for (const held of [...this.#held]) if (held.fh === fh) void this.#release(held)
  }

  #take(name: string, by: LockOwner): Held {
    const lockId = randomInt(1, ID_LIMIT)
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const taken = this.#taker.take(name, lockId)
    const held: Held = { ...by, name, lockId, taken, abandoned: false, released, release }
    this.#held.add(held)
    taken.then(
      (keepsOthersOut) => {
        if (!keepsOthersOut) this.#forget(held)
      },
      () => this.#forget(held),
    )
    return held
  }

  async #untilTaken(held: Held, signal: AbortSignal): Promise<void> {
    held.abandoned = false
    try {
      await unlessAborted(held.taken, signal)
    } catch (error) {
      if (signal.aborted) {
        held.abandoned = true
        setTimeout(() => {
          if (held.abandoned) void this.#release(held)
        }, LINGER_MS)
      }
      throw error
    }
    if (!this.#held.has(held) && (await held.taken)) throw new FuseError(ENOLCK)
  }

  async #release(held: Held): Promise<void> {
    if (!this.#held.has(held)) return
    this.#forget(held)
    await this.#taker.release(held.name, held.lockId)
  }

  #forget(held: Held): void {
    this.#held.delete(held)
    held.release()
  }
}

/** Rejects with EINTR when the signal is aborted first. */
function unlessAborted<T>(waited: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const interrupt = () => reject(new FuseError(EINTR))
    if (signal.aborted) interrupt()
    signal.addEventListener('abort', interrupt, { once: true })
    waited.then(resolve, reject).finally(() => signal.removeEventListener('abort', interrupt))
  })
}
