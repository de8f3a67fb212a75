import { walChecksum } from '../native.js'
import {
  FRAME_HEADER_SIZE,
  type FrameHeader,
  parseFrameHeader,
  WAL_HEADER_SIZE,
  type WalHeader,
} from '../sqlite/wal.js'
import { type ReadAt, transactionAt, type WalCursor, type WalTransaction } from '../sqlite/wal-scan.js'

/** Bytes of a frame header that its checksum covers. */
const CHECKED_HEADER_SIZE = 8
/** The checksum takes this many bytes at a time. */
const CHECKSUM_UNIT = 8
/** Some are cut in any WAL that grows. */
const MANY_CUT_FRAMES = 64
/** Where scans read to, one after the other. */
const scratch = new Uint8Array(1 << 20)

/**
 * Follows the writes to one WAL and finds the one that completes a transaction.
 *
 * Frames that arrive in order (header, then page, in pieces or whole) are checked as they come, so a commit costs no second look at the
 * WAL. Any other order (a page written again by a spilled transaction, checksums mended afterwards) is left alone
 * until a write touches a frame that carries a commit size; then the WAL is scanned from the end of the last
 * transaction. A chain that does not reach that frame is not an error, only not yet a commit.
 */
export class WalTail {
  #header: WalHeader | undefined
  #committed: WalCursor = { offset: 0, s1: 0, s2: 0 }
  #next: WalCursor = this.#committed
  #pgnos: number[] = []
  /** The frame that is arriving: its header, the bytes of its page so far, and the running checksum over both. */
  #staged: FrameHeader | undefined
  #stagedLength = 0
  readonly #sums = new Uint32Array(2)
  #inOrder = true
  #cutFrames = 0
  /** End of the bytes written after the last transaction: below it a header may be mended instead of new. */
  #writtenEnd = 0

  /** The WAL's header, or undefined while there is no WAL in use. */
  get header(): WalHeader | undefined {
    return this.#header
  }

  /** Whether the kernel cut many pages in pieces since the last call: it will do so again unless it has the WAL's pages whole. */
  takeCut(): boolean {
    const many = this.#cutFrames >= MANY_CUT_FRAMES
    this.#cutFrames = 0
    return many
  }

  /** Where the last transaction ends and the next will start. */
  get committed(): WalCursor {
    return this.#committed
  }

  /** Starts with another WAL (or none), whose transactions up to `committed` are known. */
  reset(header: WalHeader | undefined, committed?: WalCursor): void {
    this.#header = header
    const start =
      header === undefined ? { offset: 0, s1: 0, s2: 0 } : { offset: WAL_HEADER_SIZE, s1: header.s1, s2: header.s2 }
    this.moveTo(committed ?? start)
  }

  /** Declares that the last transaction ends at `committed`: after one was taken, or after it was undone. */
  moveTo(committed: WalCursor): void {
    this.#committed = committed
    this.#writtenEnd = committed.offset
    this.#restart()
  }

  /**
   * Takes note of a write that is about to be made. `readAt` reads the WAL as it will be after the write.
   * Returns the transactions that the write completes: none, one, or several when someone writes many frames at once.
   */
  write(offset: number, data: Uint8Array, readAt: ReadAt): WalTransaction[] {
    const header = this.#header
    if (header === undefined || offset + data.length <= this.#committed.offset) return []
    const rewrites = offset < this.#writtenEnd
    this.#writtenEnd = Math.max(this.#writtenEnd, offset + data.length)

    if (data.length === FRAME_HEADER_SIZE && offset === this.#committed.offset) this.#restart()
    if (this.#inOrder && data.length === FRAME_HEADER_SIZE && offset === this.#next.offset) {
      this.#stage(header, data)
      return rewrites && this.#staged?.commit !== 0 ? this.#scan(header, readAt) : []
    }
    const staged = this.#staged
    if (this.#inOrder && staged !== undefined && this.#continues(header, offset, data.length)) {
      return this.#body(header, staged, data)
    }
    this.#inOrder = false
    return this.#touchesCommit(header, offset, data.length, readAt) ? this.#scan(header, readAt) : []
  }

  #restart(): void {
    this.#next = this.#committed
    this.#pgnos = []
    this.#staged = undefined
    this.#inOrder = true
  }

  #stage(header: WalHeader, bytes: Uint8Array): void {
    this.#staged = parseFrameHeader(bytes, 0)
    this.#stagedLength = 0
    this.#sums[0] = this.#next.s1
    this.#sums[1] = this.#next.s2
    walChecksum(this.#sums, bytes, 0, CHECKED_HEADER_SIZE, header.bigEndian)
  }

  /** The kernel cuts a write where a page of its cache ends, so a page of the database arrives in pieces. */
  #continues(header: WalHeader, offset: number, length: number): boolean {
    const expected = this.#next.offset + FRAME_HEADER_SIZE + this.#stagedLength
    return offset === expected && this.#stagedLength + length <= header.pageSize && length % CHECKSUM_UNIT === 0
  }

  /** Takes a piece of the page, and with the last one checks the frame against the chain. */
  #body(header: WalHeader, frame: FrameHeader, piece: Uint8Array): WalTransaction[] {
    walChecksum(this.#sums, piece, 0, piece.length, header.bigEndian)
    this.#stagedLength += piece.length
    if (this.#stagedLength < header.pageSize) {
      if (this.#stagedLength === piece.length) this.#cutFrames++
      return []
    }
    this.#staged = undefined
    const chained = frame.s1 === this.#sums[0] && frame.s2 === this.#sums[1]
    if (!chained || frame.salt1 !== header.salt1 || frame.salt2 !== header.salt2 || frame.pgno === 0) {
      this.#inOrder = false
      return []
    }
    this.#pgnos.push(frame.pgno)
    this.#next = { offset: this.#next.offset + FRAME_HEADER_SIZE + header.pageSize, s1: frame.s1, s2: frame.s2 }
    if (frame.commit === 0) return []
    const start = this.#committed.offset
    return [{ start, end: this.#next, commit: frame.commit, pgnos: Uint32Array.from(this.#pgnos) }]
  }

  #touchesCommit(header: WalHeader, offset: number, length: number, readAt: ReadAt): boolean {
    const frameSize = FRAME_HEADER_SIZE + header.pageSize
    const first = Math.max(0, Math.floor((offset - WAL_HEADER_SIZE) / frameSize))
    const last = Math.floor((offset + length - 1 - WAL_HEADER_SIZE) / frameSize)
    const bytes = Buffer.alloc(FRAME_HEADER_SIZE)
    for (let index = first; index <= last; index++) {
      if (readAt(bytes, WAL_HEADER_SIZE + index * frameSize) < FRAME_HEADER_SIZE) return false
      const frame = parseFrameHeader(bytes, 0)
      if (frame.commit !== 0 && frame.salt1 === header.salt1 && frame.salt2 === header.salt2) return true
    }
    return false
  }

  #scan(header: WalHeader, readAt: ReadAt): WalTransaction[] {
    const found: WalTransaction[] = []
    let cursor = this.#committed
    for (;;) {
      const transaction = transactionAt(header, cursor, this.#writtenEnd, readAt, scratch)
      if (transaction === undefined) return found
      found.push(transaction)
      cursor = transaction.end
    }
  }
}
