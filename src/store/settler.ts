import type { FileKind } from '../db/database-files.js'
import type { Log } from '../log.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'
import type { FollowPace } from './commit-feed.js'

/** Reads a database's wal-index as its users see it. */
export type ReadWalIndex = (name: string) => Promise<WalIndexHeader | undefined>

/** Pause before the first look, milliseconds; doubled with each. */
const FIRST_PAUSE_MS = 10
/**
 * While a replica waits for it: when to look after the write that was captured, milliseconds, for as long as timers are too coarse. The writer
 * makes it final within some 50 microseconds, unless something else has its processor.
 */
const EAGER_LOOKS_MS: readonly number[] = [0.04, 0.1, 0.18, 0.3, 0.5]
/** The longest pause between two looks, milliseconds: short of what a backup's interval is, and after the eager looks. */
const LONGEST_MS: Readonly<Record<FollowPace, number>> = { off: 1000, eventually: 100, promptly: 1 }

/** What is asked of a database. */
export interface SettlingDatabase {
  readonly name: string
  readonly provisional: boolean
  readonly closing: boolean
  readonly files: { isOpen(kind: FileKind): boolean }
  /** True when it was found that nobody sees its newest transaction. */
  settle(index: WalIndexHeader | undefined): boolean
}

export interface SettlerParts {
  /** How soon somebody waits for transactions to become final. */
  pace(): FollowPace
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
  #immediate: NodeJS.Immediate | undefined
  #pauseMs = FIRST_PAUSE_MS
  /** Eager looks that were taken, and since when they count. */
  #eagerLooks = EAGER_LOOKS_MS.length
  #addedMs = 0
  #looking = false

  constructor(readWalIndex: ReadWalIndex, log: Log, parts: SettlerParts) {
    this.#readWalIndex = readWalIndex
    this.#log = log
    this.#parts = parts
  }

  /** The database has a provisional transaction. */
  add(database: SettlingDatabase): void {
    this.#waiting.add(database)
    if (this.#parts.pace() === 'promptly') {
      this.#eagerLooks = 0
      this.#addedMs = performance.now()
    } else if (this.#scheduled) return
    this.#pauseMs = FIRST_PAUSE_MS
    this.hasten()
  }

  /** Looks once, now. Resolves to true when nobody sees the newest transaction, which is so until another request is served. */
  async settle(database: SettlingDatabase): Promise<boolean> {
    if (!database.provisional) return false
    let isUnseen = false
    if (!database.files.isOpen('shm')) {
      if (!database.closing) database.settle(undefined)
    } else {
      const index = await this.#readWalIndex(database.name)
      if (index !== undefined) isUnseen = database.settle(index)
    }
    if (!database.provisional) this.#parts.settled(database)
    return isUnseen
  }

  /** Looks as soon and as often as somebody waits for it now. */
  hasten(): void {
    if (this.#looking || this.#waiting.size === 0) return
    this.#unschedule()
    this.#schedule()
  }

  stop(): void {
    this.#unschedule()
    this.#waiting.clear()
  }

  get #scheduled(): boolean {
    return this.#looking || this.#timer !== undefined || this.#immediate !== undefined
  }

  #unschedule(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#timer = undefined
    this.#immediate = undefined
  }

  #schedule(): void {
    const pace = this.#parts.pace()
    const eagerMs = pace === 'promptly' ? EAGER_LOOKS_MS[this.#eagerLooks] : undefined
    if (eagerMs !== undefined) {
      this.#eagerLooks++
      this.#lookAt(this.#addedMs + eagerMs)
    } else {
      this.#timer = setTimeout(() => this.#look(), Math.min(this.#pauseMs, LONGEST_MS[pace]))
    }
  }

  #lookAt(dueMs: number): void {
    this.#immediate = setImmediate(() => {
      if (performance.now() >= dueMs) this.#look()
      else this.#lookAt(dueMs)
    })
  }

  #look(): void {
    this.#unschedule()
    this.#looking = true
    this.#round()
      .catch((error: Error) => this.#log.warn(`cannot read a wal-index: ${error.message}`))
      .finally(() => {
        this.#looking = false
        if (this.#waiting.size > 0) this.#schedule()
      })
  }

  async #round(): Promise<void> {
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_MS.off)
    for (const database of [...this.#waiting]) {
      await this.settle(database)
      if (database.provisional) continue
      this.#waiting.delete(database)
      // Also where its last connection made it final meanwhile: nobody else tells of that.
      this.#parts.settled(database)
    }
  }
}
