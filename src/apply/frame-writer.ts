import { writeAll, writeFully } from '../db/write-fully.js'
import type { PageImage } from '../ltx/page-block.js'
import { encodeFrameHeader, FRAME_HEADER_SIZE, sealFrame, type WalHeader } from '../sqlite/wal.js'
import type { WalCursor } from '../sqlite/wal-scan.js'

/** Frames are collected up to this many bytes before they are written: what FUSE takes in one request. */
const BUFFER_SIZE = 1 << 20

/** Of all writers: whoever would need more writes without going on meanwhile. */
const MAX_BUFFERS = 4
/** Buffers that no writer has, and how many there are. */
const spare: Buffer[] = []
let count = 0

function take(): Buffer {
  const buffer = spare.pop()
  if (buffer !== undefined) return buffer
  count++
  return Buffer.alloc(BUFFER_SIZE)
}

function giveBack(buffer: Buffer): void {
  if (count > MAX_BUFFERS) count--
  else spare.push(buffer)
}

/**
 * Writes the frames of one transaction to a log, from a place between two frames on. A transaction that fits a buffer is one write; of a larger
 * one a buffer is filled while the one before it is being written. Until `commit` nothing of it counts: every frame before the last has a
 * commit field of zero. `close` must be waited for in any case.
 */
export class FrameWriter {
  readonly #fd: number
  readonly #header: WalHeader
  readonly #frameSize: number
  readonly #state: Uint32Array
  readonly #pgnos: number[] = []
  #buffer = take()
  /** Being written, or free again; undefined while one is enough. */
  #other: Buffer | undefined
  /** Where in the file the buffer begins, and the bytes in it. The last frame in it has no checksum yet. */
  #offset: number
  #used = 0
  #writing: Promise<void> | undefined

  constructor(fd: number, header: WalHeader, from: WalCursor) {
    this.#fd = fd
    this.#header = header
    this.#frameSize = FRAME_HEADER_SIZE + header.pageSize
    this.#state = Uint32Array.of(from.s1, from.s2)
    this.#offset = from.offset
  }

  /** Page number of each frame so far. */
  get pgnos(): readonly number[] {
    return this.#pgnos
  }

  /** Adds a frame for each page, which has exactly page size and is copied. Rejects with a system error, ENOSPC among them. */
  async add(pages: Iterable<PageImage>): Promise<void> {
    for (const { pgno, data } of pages) {
      if (this.#pgnos.length > 0) this.#seal(0)
      if (this.#used + this.#frameSize > BUFFER_SIZE) await this.#turnOver()
      const { salt1, salt2 } = this.#header
      encodeFrameHeader(this.#buffer, this.#used, { pgno, commit: 0, salt1, salt2, s1: 0, s2: 0 })
      this.#buffer.set(data, this.#used + FRAME_HEADER_SIZE)
      this.#used += this.#frameSize
      this.#pgnos.push(pgno)
    }
  }

  /** Makes the last frame the commit frame of a database of `pageCount` pages, and resolves to the place after it. At least one was added. */
  async commit(pageCount: number): Promise<WalCursor> {
    this.#seal(pageCount)
    await this.#writing
    writeFully(this.#fd, this.#buffer.subarray(0, this.#used), this.#offset)
    const [s1 = 0, s2 = 0] = this.#state
    return { offset: this.#offset + this.#used, s1, s2 }
  }

  /** Resolves when nothing is being written any more. */
  async close(): Promise<void> {
    await Promise.allSettled([this.#writing])
    giveBack(this.#buffer)
    if (this.#other !== undefined) giveBack(this.#other)
  }

  #seal(commit: number): void {
    const at = this.#used - this.#frameSize
    sealFrame(this.#state, this.#header, this.#buffer, at, commit)
  }

  /** Has the buffer written, and goes on with the one that was written before it, if there may be another one. */
  async #turnOver(): Promise<void> {
    await this.#writing
    const full = this.#buffer.subarray(0, this.#used)
    const offset = this.#offset
    this.#offset += this.#used
    this.#used = 0
    if (this.#other === undefined && spare.length === 0 && count >= MAX_BUFFERS) {
      writeFully(this.#fd, full, offset)
      return
    }
    const free = this.#other ?? take()
    this.#other = this.#buffer
    this.#buffer = free
    this.#writing = writeAll(this.#fd, full, offset)
    // Who waits for it next hears of a failure.
    this.#writing.catch(() => {})
  }
}
