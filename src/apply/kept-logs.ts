import { setTimeout as delay } from 'node:timers/promises'
import { describeError, type Log } from '../log.js'

/** Between two attempts, milliseconds. */
const AGAIN_MS = 1000

/**
 * Databases that were let go of but for their log, which not everybody would notice to have been. On a replica nobody else can end it. Once
 * this node is the primary, `notice` is tried until everybody would.
 */
export class KeptLogs {
  readonly #names = new Set<string>()
  readonly #notice: (name: string) => Promise<void>
  readonly #log: Log
  #leading = AbortSignal.abort()
  #isBusy = false

  constructor(notice: (name: string) => Promise<void>, log: Log) {
    this.#notice = notice
    this.#log = log
  }

  set(name: string, isKept: boolean): void {
    if (isKept) this.#names.add(name)
    else this.#names.delete(name)
    if (isKept) void this.#work()
  }

  /** This node is the primary until `signal` is aborted. */
  lead(signal: AbortSignal): void {
    this.#leading = signal
    void this.#work()
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    const told = new Set<string>()
    while (this.#names.size > 0 && !this.#leading.aborted) {
      for (const name of this.#names) await this.#try(name, told)
      if (this.#names.size > 0) await delay(AGAIN_MS)
    }
    this.#isBusy = false
  }

  async #try(name: string, told: Set<string>): Promise<void> {
    if (this.#leading.aborted) return
    try {
      await this.#notice(name)
      this.#names.delete(name)
    } catch (error) {
      if (told.has(name) || this.#leading.aborted) return
      told.add(name)
      this.#log.warn(`cannot tell connections of ${name} that it has changed, trying again: ${describeError(error)}`)
    }
  }
}
