import type { FileKind } from '../db/database-files.js'
import type { Log } from '../log.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'

/** Reads a database's wal-index as its users see it. */
export type ReadWalIndex = (name: string) => Promise<WalIndexHeader | undefined>

/** Pause before the first look, and the longest pause between two, milliseconds. */
const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 1000
/** Every pause while a replica waits for transactions to become final. */
const FOLLOWED_PAUSE_MS = 1

/** What is asked of a database. */
export interface SettlingDatabase {
  readonly name: string
  readonly provisional: boolean
  readonly closing: boolean
  readonly files: { isOpen(kind: FileKind): boolean }
  settle(index: WalIndexHeader | undefined): void
}

export interface SettlerParts {
  /** Whether somebody waits for transactions to become final. */
  following(): boolean
  /** The newest transaction of a database is final. */
  settled(database: SettlingDatabase): void
}

/**
 * Finds out when captured WAL transactions become final: when the wal-index covers them, or nobody has a wal-index any more, so that the
 * next opener's recovery will find them.
 */
export class Settler {
  readonly #readWalIndex: ReadWalIndex
  readonly #log: Log
  readonly #parts: SettlerParts
  readonly #waiting = new Set<SettlingDatabase>()
  #timer: NodeJS.Timeout | undefined
  #pauseMs = FIRST_PAUSE_MS
  #looking = false

  constructor(readWalIndex: ReadWalIndex, log: Log, parts: SettlerParts) {
    this.#readWalIndex = readWalIndex
    this.#log = log
    this.#parts = parts
  }

  /** The database has a provisional transaction. */
  add(database: SettlingDatabase): void {
    this.#waiting.add(database)
    if (this.#timer !== undefined) return
    this.#pauseMs = FIRST_PAUSE_MS
    this.#schedule()
  }

  /** Looks once, now. */
  async settle(database: SettlingDatabase): Promise<void> {
    if (!database.provisional) return
    if (!database.files.isOpen('shm')) {
      if (!database.closing) database.settle(undefined)
    } else {
      const index = await this.#readWalIndex(database.name)
      if (index !== undefined) database.settle(index)
    }
    if (!database.provisional) this.#parts.settled(database)
  }

  /** Looks often from now on, if somebody waits. */
  hasten(): void {
    if (this.#timer === undefined || this.#looking) return
    clearTimeout(this.#timer)
    this.#schedule()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting.clear()
  }

  #schedule(): void {
    const pauseMs = this.#parts.following() ? FOLLOWED_PAUSE_MS : this.#pauseMs
    this.#timer = setTimeout(() => {
      this.#looking = true
      this.#round().then(
        () => {
          this.#looking = false
          this.#timer = undefined
          if (this.#waiting.size > 0) this.#schedule()
        },
        (error: Error) => {
          this.#looking = false
          this.#timer = undefined
          this.#log.warn(`cannot read a wal-index: ${error.message}`)
          if (this.#waiting.size > 0) this.#schedule()
        },
      )
    }, pauseMs)
  }

  async #round(): Promise<void> {
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS)
    for (const database of [...this.#waiting]) {
      await this.settle(database)
      if (database.provisional) continue
      this.#waiting.delete(database)
      // Also where its last connection made it final meanwhile: nobody else tells of that.
      this.#parts.settled(database)
    }
  }
}
