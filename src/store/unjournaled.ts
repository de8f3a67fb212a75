import type { Database } from '../db/database.js'
import { describeError, type Log } from '../log.js'

/** Whether somebody holds the lock under which SQLite writes a database file; undefined where that cannot be seen. */
export type IsWriteLocked = (name: string) => boolean | undefined

/** Pause before the first look, and the longest pause between two, milliseconds. */
const FIRST_PAUSE_MS = 5
const LONGEST_PAUSE_MS = 100
const RETRY_PAUSE_MS = 2000

/**
 * Captures what is written to a database without a journal (`journal_mode=OFF` or `MEMORY`) once its writer has let go of the database:
 * nothing else tells where such a transaction ends. Looking and capturing are one step, so that no write can come between them.
 *
 * Who writes without SQLite's lock, as `cp` does, is not waited for here: his closing tells that he is done.
 */
export class UnjournaledWatch {
  readonly #isWriteLocked: IsWriteLocked
  readonly #log: Log
  readonly #waiting = new Set<Database>()
  readonly #told = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #pauseMs = FIRST_PAUSE_MS

  constructor(isWriteLocked: IsWriteLocked, log: Log) {
    this.#isWriteLocked = isWriteLocked
    this.#log = log
  }

  /** The first write without a journal since the last transaction is about to be answered: its writer still holds the lock, if ever. */
  add(database: Database): void {
    if (this.#waiting.has(database) || this.#isWriteLocked(database.name) !== true) return
    if (!this.#told.has(database.name)) {
      this.#told.add(database.name)
      this.#log.info(
        `${database.name}: is written without a journal; transactions are captured after they were committed`,
      )
    }
    this.#wait(database)
  }

  /** Somebody who wrote the database file has closed it, while others have it open. One of these may hold the lock. */
  writerClosed(database: Database): void {
    if (!database.unjournaled) return
    const locked = this.#isWriteLocked(database.name)
    if (locked === false) database.ended()
    else if (locked === true) this.#wait(database)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting.clear()
  }

  #wait(database: Database): void {
    this.#waiting.add(database)
    this.#pauseMs = FIRST_PAUSE_MS
    this.#schedule()
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#look(), this.#pauseMs)
  }

  #look(): void {
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS)
    for (const database of this.#waiting) {
      const locked = this.#isWriteLocked(database.name)
      if (database.unjournaled && locked === true) continue
      try {
        // Where it cannot be seen any more, the last connection's closing is waited for.
        if (locked === false) database.ended()
        this.#waiting.delete(database)
      } catch (error) {
        this.#log.error(
          `cannot capture what was written without a journal to ${database.name}: ${describeError(error)}`,
        )
        this.#pauseMs = RETRY_PAUSE_MS
      }
    }
    if (this.#waiting.size > 0) this.#schedule()
  }
}
