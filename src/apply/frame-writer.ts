import { writeFully } from '../db/write-fully.js'
import { chainFrame, encodeFrameHeader, FRAME_HEADER_SIZE, parseFrameHeader, type WalHeader } from '../sqlite/wal.js'
import type { WalCursor } from '../sqlite/wal-scan.js'

/** Frames are collected up to this many bytes before they are written: what FUSE takes in one request. */
const BUFFER_SIZE = 1 << 20

/** One for all writers: each transaction is written without a pause. */
const buffer = Buffer.alloc(BUFFER_SIZE)

/**
 * Writes the frames of one transaction to a log, from a place between two frames on. A transaction that fits the buffer is one write.
 * Until `commit` nothing of it counts: every frame before the last has a commit field of zero.
 */
export class FrameWriter {
  readonly #fd: number
  readonly #header: WalHeader
  readonly #frameSize: number
  readonly #state: Uint32Array
  readonly #pgnos: number[] = []
  /** Where in the file the buffer begins, and the bytes in it. The last frame in it has no checksum yet. */
  #offset: number
  #used = 0

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

  /** Adds a frame; `page` (of exactly page size) is copied. Throws a system error, ENOSPC among them. */
  add(pgno: number, page: Uint8Array): void {
    if (this.#pgnos.length > 0) this.#seal(0)
    if (this.#used + this.#frameSize > BUFFER_SIZE) this.#flush()
    const { salt1, salt2 } = this.#header
    encodeFrameHeader(buffer, this.#used, { pgno, commit: 0, salt1, salt2, s1: 0, s2: 0 })
    buffer.set(page, this.#used + FRAME_HEADER_SIZE)
    this.#used += this.#frameSize
    this.#pgnos.push(pgno)
  }

  /** Makes the last frame the commit frame of a database of `pageCount` pages, and returns the place after it. At least one was added. */
  commit(pageCount: number): WalCursor {
    this.#seal(pageCount)
    this.#flush()
    const [s1 = 0, s2 = 0] = this.#state
    return { offset: this.#offset, s1, s2 }
  }

  #seal(commit: number): void {
    const at = this.#used - this.#frameSize
    const frame = { ...parseFrameHeader(buffer, at), commit }
    encodeFrameHeader(buffer, at, frame)
    chainFrame(this.#state, this.#header, buffer, at)
    const [s1 = 0, s2 = 0] = this.#state
    encodeFrameHeader(buffer, at, { ...frame, s1, s2 })
  }

  #flush(): void {
    writeFully(this.#fd, buffer.subarray(0, this.#used), this.#offset)
    this.#offset += this.#used
    this.#used = 0
  }
}
