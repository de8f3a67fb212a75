import { monotonicMs } from './monotonic.js'

const NEVER = (1n << 63n) - 1n

/**
 * Until when this node may acknowledge transactions of its own, in memory that its threads share: the thread that commits looks for itself,
 * also while the one that renews the lease stands still. Counted on a clock that nobody sets, so that whoever sets one makes no two primaries.
 */
export class Fence {
  /** What another thread makes its own Fence of. */
  readonly memory: SharedArrayBuffer
  readonly #deadlineMicros: BigInt64Array

  /** Closed, where `memory` is new. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.memory = memory
    this.#deadlineMicros = new BigInt64Array(memory)
  }

  /** Whether a transaction may be acknowledged now. */
  get isOpen(): boolean {
    return BigInt(Math.floor(monotonicMs() * 1000)) < Atomics.load(this.#deadlineMicros, 0)
  }

  /** Until this moment of `monotonicMs`; Infinity for ever. */
  openUntil(deadlineMs: number): void {
    const micros = deadlineMs === Number.POSITIVE_INFINITY ? NEVER : BigInt(Math.floor(deadlineMs * 1000))
    Atomics.store(this.#deadlineMicros, 0, micros)
  }

  close(): void {
    Atomics.store(this.#deadlineMicros, 0, 0n)
  }
}
