import type { Database } from '../db/database.js'
import type { Log } from '../log.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'

/** Reads a database's wal-index as its users see it. */
export type ReadWalIndex = (name: string) => Promise<WalIndexHeader | undefined>

/** Pause before the first look, and the longest pause between two, milliseconds. */
const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 1000

/**
 * Finds out when captured WAL transactions become final: when the wal-index covers them, or nobody has a wal-index any more, so that the
 * next opener's recovery will find them.
 */
export class Settler {
  readonly #readWalIndex: ReadWalIndex
  readonly #log: Log
  readonly #waiting = new Set<Database>()
  #timer: NodeJS.Timeout | undefined
  #pauseMs = FIRST_PAUSE_MS

  constructor(readWalIndex: ReadWalIndex, log: Log) {
    this.#readWalIndex = readWalIndex
    this.#log = log
  }

  /** The database has a provisional transaction. */
  add(database: Database): void {
    this.#waiting.add(database)
    if (this.#timer !== undefined) return
    this.#pauseMs = FIRST_PAUSE_MS
    this.#schedule()
  }

  /** Looks once, now. */
  async settle(database: Database): Promise<void> {
    if (!database.provisional) return
    if (!database.files.isOpen('shm')) {
      if (!database.closing) database.settle(undefined)
      return
    }
    const index = await this.#readWalIndex(database.name)
    if (index !== undefined) database.settle(index)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting.clear()
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#round().then(
        () => {
          this.#timer = undefined
          if (this.#waiting.size > 0) this.#schedule()
        },
        (error: Error) => {
          this.#timer = undefined
          this.#log.warn(`cannot read a wal-index: ${error.message}`)
          if (this.#waiting.size > 0) this.#schedule()
        },
      )
    }, this.#pauseMs)
  }

  async #round(): Promise<void> {
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS)
    for (const database of [...this.#waiting]) {
      await this.settle(database)
      if (!database.provisional) this.#waiting.delete(database)
    }
  }
}
