import { describeError, type Log } from '../log.js'

/** A failure that goes on is told again after this time, milliseconds, and then at intervals that double, up to the longest. */
const FIRST_REMINDER_MS = 60_000
const LONGEST_REMINDER_MS = 3_600_000
/** Different reasons that are told at once in one outage: some are worded differently each time. */
const MAX_REASONS = 8

/** What is told of a work that fails and is tried again, however often: that it fails, each new reason, and that it goes on again. */
export class Outage {
  readonly #log: Log
  readonly #healedMs: number
  readonly #onHealed: () => void
  readonly #reasons = new Set<string>()
  #failures = 0
  #sinceMs = 0
  #reminderMs = 0
  #remindAtMs = 0
  #healing: NodeJS.Timeout | undefined

  /** What went well for `healedMs` milliseconds is not the same outage any more; `onHealed` is told so. */
  constructor(log: Log, healedMs: number, onHealed: () => void) {
    this.#log = log
    this.#healedMs = healedMs
    this.#onHealed = onHealed
  }

  /** Failures in a row. */
  get failures(): number {
    return this.#failures
  }

  /** It failed again. `nowMs` is a monotonic clock's. */
  failed(error: unknown, nowMs: number): void {
    this.stop()
    if (this.#failures === 0) this.#begin(nowMs)
    this.#failures++
    const reason = describeError(error)
    if (!this.#reasons.has(reason) && this.#reasons.size < MAX_REASONS) {
      this.#reasons.add(reason)
      this.#log.warn(`cannot follow the primary, trying again: ${reason}`)
    } else if (nowMs >= this.#remindAtMs) {
      const seconds = Math.round((nowMs - this.#sinceMs) / 1000)
      this.#log.warn(`cannot follow the primary since ${seconds} s, ${this.#failures} attempts: ${reason}`)
      this.#reminderMs = Math.min(2 * this.#reminderMs, LONGEST_REMINDER_MS)
      this.#remindAtMs = nowMs + this.#reminderMs
    }
  }

  /** It goes well now. */
  succeeded(): void {
    this.#healing ??= setTimeout(() => this.#healed(), this.#healedMs).unref()
  }

  /** Forgets that it went well. */
  stop(): void {
    clearTimeout(this.#healing)
    this.#healing = undefined
  }

  #begin(nowMs: number): void {
    this.#sinceMs = nowMs
    this.#reminderMs = FIRST_REMINDER_MS
    this.#remindAtMs = nowMs + FIRST_REMINDER_MS
  }

  #healed(): void {
    if (this.#reasons.size > 0) this.#log.info('following the primary again', { failures: this.#failures })
    this.#failures = 0
    this.#reasons.clear()
    this.#onHealed()
  }
}
