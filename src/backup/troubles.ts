import { describeError, type Log } from '../log.js'

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 30_000

/** Failures of something that is tried again and again: says each once, when it goes on, and how long to wait. */
export class Troubles {
  readonly #what: string
  readonly #log: Log
  #message: string | undefined
  #sinceMs = 0
  #inARow = 0
  #count = 0

  constructor(what: string, log: Log) {
    this.#what = what
    this.#log = log
  }

  /** Since the start. */
  get count(): number {
    return this.#count
  }

  /** What is wrong now. */
  get current(): string | undefined {
    return this.#message
  }

  /** How long to wait, milliseconds. `pauseMs` is the least. */
  failed(error: unknown, pauseMs = FIRST_PAUSE_MS): number {
    const message = describeError(error)
    if (this.#message === undefined) this.#sinceMs = Date.now()
    if (this.#message !== message) this.#log.error(`${this.#what} fails and is tried again and again: ${message}`)
    this.#message = message
    this.#count++
    return Math.min(LONGEST_PAUSE_MS, Math.max(pauseMs, FIRST_PAUSE_MS * 2 ** this.#inARow++))
  }

  succeeded(): void {
    this.#inARow = 0
    if (this.#message === undefined) return
    this.#message = undefined
    this.#log.info(`${this.#what} goes on after ${((Date.now() - this.#sinceMs) / 1000).toFixed(1)} s`)
  }
}
