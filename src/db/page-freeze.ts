import fs from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import type { Position } from '../ltx/names.js'
import { FRAME_HEADER_SIZE, parseFrameHeader, WAL_HEADER_SIZE } from '../sqlite/wal.js'
import type { DatabaseLayout } from './layout.js'

/** A database as it was at one moment, for a reader in any thread of this process: see readFrozenPages. Memory: 4 bytes per page. */
export interface FrozenPages {
  readonly pageSize: number
  readonly pageCount: number
  readonly position: Position
  readonly databaseFd: number
  /** -1 without a WAL. */
  readonly walFd: number
  /** Pages that were overwritten since, one after the other. */
  readonly keptFd: number
  /** For each page where it is: 0 in the database file, n > 0 the n-th kept page, -n the n-th frame of the WAL. Shared. */
  readonly places: Int32Array
  /** PAGES_READ and BROKEN. Shared. */
  readonly control: Int32Array
}

/** Index in `control`: the reader has no more use for pages up to this number. */
export const PAGES_READ = 0
/** Index in `control`: not zero when a page could not be kept. */
export const BROKEN = 1

/** What a database is when it is frozen. */
export interface FreezeStart {
  readonly pageSize: number
  readonly pageCount: number
  readonly position: Position
  /** Where the last transaction in the WAL ends, bytes; 0 without a WAL in use. */
  readonly walEnd: number
  /** Told once when a page cannot be kept: the reader cannot go on, the writer can. */
  readonly onFailure: (error: unknown) => void
}

/** Frames that are looked at in one go while others wait. */
const SCAN_FRAMES = 256
let count = 0

/**
 * Keeps a database readable as it is now while its writers go on: before a page of the database file or of the WAL is overwritten, it is
 * copied to a file without a name, unless the reader is past it. No lock is held and no writer waits, in no journal mode. The database
 * file must hold no page of an unfinished transaction when it begins.
 */
export class PageFreeze {
  readonly pages: FrozenPages
  readonly #onFailure: (error: unknown) => void
  readonly #page: Buffer
  readonly #frames: number
  #scanned = 0
  #kept = 0
  #open = true

  /** Throws a system error. */
  constructor(layout: DatabaseLayout, start: FreezeStart) {
    const { pageSize, pageCount, position, walEnd } = start
    const databaseFd = fs.openSync(layout.database, 'r')
    const walFd = walEnd > 0 ? fs.openSync(layout.wal, 'r') : -1
    const keptPath = `${layout.dir}/frozen-${process.pid}-${++count}.tmp`
    const keptFd = fs.openSync(keptPath, 'wx+', 0o600)
    fs.unlinkSync(keptPath)
    const places = new Int32Array(new SharedArrayBuffer(4 * pageCount))
    const control = new Int32Array(new SharedArrayBuffer(8))
    this.pages = { pageSize, pageCount, position, databaseFd, walFd, keptFd, places, control }
    this.#onFailure = start.onFailure
    this.#page = Buffer.alloc(pageSize)
    this.#frames = walEnd > 0 ? Math.floor((walEnd - WAL_HEADER_SIZE) / (FRAME_HEADER_SIZE + pageSize)) : 0
  }

  /** Resolves when it is known which pages are in the WAL: before, nobody may read. */
  async prepare(): Promise<void> {
    while (this.#open && this.#scanned < this.#frames) {
      this.#scan(SCAN_FRAMES)
      await turn()
    }
  }

  /** `length` bytes of the database file at `offset` are about to be overwritten. */
  beforeWrite(offset: number, length: number): void {
    const { pageSize } = this.pages
    const last = Math.floor((offset + length - 1) / pageSize) + 1
    this.#keepRange(Math.floor(offset / pageSize) + 1, last)
  }

  /** The database file is about to be cut to `size` bytes. */
  beforeTruncate(size: number): void {
    this.#keepRange(Math.floor(size / this.pages.pageSize) + 1, this.pages.pageCount)
  }

  /** The WAL is about to be emptied, or written from its beginning. */
  beforeWalReset(): void {
    const { places, pageCount, control } = this.pages
    if (this.pages.walFd < 0) return
    this.#scan(this.#frames)
    for (let pgno = Atomics.load(control, PAGES_READ) + 1; pgno <= pageCount; pgno++) {
      const place = places[pgno - 1] ?? 0
      if (place < 0) this.#keep(pgno, this.pages.walFd, frameOffset(-place, this.pages.pageSize) + FRAME_HEADER_SIZE)
    }
  }

  /** Nobody reads any more. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    const { databaseFd, walFd, keptFd } = this.pages
    for (const fd of [databaseFd, walFd, keptFd]) if (fd >= 0) fs.closeSync(fd)
  }

  /** Notes for the next frames which page they hold: the last one of a page counts. */
  #scan(frames: number): void {
    const { pageSize, pageCount, walFd, places } = this.pages
    const bytes = Buffer.alloc(FRAME_HEADER_SIZE)
    const end = Math.min(this.#frames, this.#scanned + frames)
    for (; this.#scanned < end; this.#scanned++) {
      const frame = this.#scanned + 1
      fs.readSync(walFd, bytes, 0, bytes.length, frameOffset(frame, pageSize))
      const { pgno } = parseFrameHeader(bytes, 0)
      if (pgno <= pageCount) Atomics.store(places, pgno - 1, -frame)
    }
  }

  #keepRange(first: number, last: number): void {
    const { places, pageCount, pageSize, databaseFd, control } = this.pages
    const from = Math.max(first, Atomics.load(control, PAGES_READ) + 1)
    for (let pgno = from; pgno <= Math.min(last, pageCount); pgno++) {
      if (places[pgno - 1] === 0) this.#keep(pgno, databaseFd, (pgno - 1) * pageSize)
    }
  }

  /** Copies a page before it goes. A failure must not reach the writer, who has nothing to do with it. */
  #keep(pgno: number, fd: number, offset: number): void {
    const { pageSize, keptFd, places, control } = this.pages
    if (!this.#open || Atomics.load(control, BROKEN) !== 0) return
    try {
      const n = fs.readSync(fd, this.#page, 0, pageSize, offset)
      this.#page.fill(0, n)
      const at = this.#kept * pageSize
      for (let done = 0; done < pageSize; ) {
        done += fs.writeSync(keptFd, this.#page, done, pageSize - done, at + done)
      }
      this.#kept++
      Atomics.store(places, pgno - 1, this.#kept)
    } catch (error) {
      Atomics.store(control, BROKEN, 1)
      this.#onFailure(error)
    }
  }
}

/** Offset of the n-th frame, counted from 1. */
export function frameOffset(frame: number, pageSize: number): number {
  return WAL_HEADER_SIZE + (frame - 1) * (FRAME_HEADER_SIZE + pageSize)
}
