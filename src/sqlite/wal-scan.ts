/**
 * Finds the transactions of a write-ahead log the way SQLite's recovery does: frame after frame, as long as the salts are the header's,
 * the page number is not zero and the chained checksum is right. A frame with a commit field ends a transaction; frames after the last
 * such frame do not count.
 */

import { ChunkReader, MAX_CHUNK_SIZE, type ReadAt } from './chunk-reader.js'
import { chainFrame, FRAME_HEADER_SIZE, WAL_HEADER_SIZE, type WalHeader } from './wal.js'

export type { ReadAt }

/** A place between two frames. */
export interface WalCursor {
  /** Byte offset in the log of the next frame. */
  offset: number
  /** Running checksum of everything before `offset`. */
  s1: number
  s2: number
}

export interface WalTransaction {
  /** Byte offset in the log of its first frame. */
  start: number
  /** The place after its commit frame, from which the next transaction is read. */
  end: WalCursor
  /** Database size in pages after the transaction, at least 1. */
  commit: number
  /** Page number of each frame, in file order; the last one is the commit frame's. A page can occur more than once. */
  pgnos: Uint32Array
}

/** A page as a transaction leaves it. */
export interface WalPage {
  pgno: number
  /** Index of the page's last frame in the transaction. */
  frame: number
  /** Byte offset in the log of the page image (not of its frame header). */
  offset: number
}

const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

/** The cursor before the first frame. */
export function firstCursor(header: WalHeader): WalCursor {
  return { offset: WAL_HEADER_SIZE, s1: header.s1, s2: header.s2 }
}

/**
 * Yields the complete transactions from `from` on, up to the first invalid frame.
 * Keeps one chunk of at most 1 MiB of the log and 4 bytes per frame of the running transaction. Reads ahead: frames that change while the
 * generator is suspended may be seen as they were before. With `powersafe overwrite` off, SQLite repeats the commit frame up to the end of
 * the sector; each repetition comes as a transaction of its own, see `isPadding`.
 */
export function* walTransactions(header: WalHeader, from: WalCursor, readAt: ReadAt): Generator<WalTransaction> {
  const frameSize = FRAME_HEADER_SIZE + header.pageSize
  const chunk = new Uint8Array(Math.floor(MAX_CHUNK_SIZE / frameSize) * frameSize)
  const reader = new ChunkReader(readAt, chunk, Number.MAX_SAFE_INTEGER)
  let cursor = from
  for (;;) {
    const transaction = readTransaction(header, cursor, reader)
    if (transaction === undefined) return
    yield transaction
    cursor = transaction.end
  }
}

/**
 * The one transaction that starts at `from`, if its commit frame ends at or before byte `end` of the log and every frame up to there is
 * valid; undefined otherwise, which on the commit path means "not yet". Bytes come from `readAt` only, and none past `end` are read.
 * They go through `scratch`, at least one frame (24 + page size) long and free again afterwards: allocating it costs more than the
 * check of a small transaction, so keep one. Without it, a chunk of at most 1 MiB is allocated.
 */
export function transactionAt(
  header: WalHeader,
  from: WalCursor,
  end: number,
  readAt: ReadAt,
  scratch?: Uint8Array,
): WalTransaction | undefined {
  const frameSize = FRAME_HEADER_SIZE + header.pageSize
  const frames = Math.floor(Math.min(end - from.offset, MAX_CHUNK_SIZE) / frameSize)
  if (frames < 1) return undefined
  return readTransaction(header, from, new ChunkReader(readAt, scratch ?? new Uint8Array(frames * frameSize), end))
}

/** The pages of a transaction in ascending order, each with its last frame; pages past the committed size are left out. */
export function lastFrames(transaction: WalTransaction): WalPage[] {
  const { pgnos, commit, start, end } = transaction
  const frameSize = (end.offset - start) / pgnos.length
  const [only = 0] = pgnos
  if (pgnos.length === 1) return only > commit ? [] : [{ pgno: only, frame: 0, offset: start + FRAME_HEADER_SIZE }]
  const pages: WalPage[] = []
  for (const [pgno, frame] of sortedFrames(pgnos)) {
    if (pgno > commit) break
    const page = { pgno, frame, offset: start + frame * frameSize + FRAME_HEADER_SIZE }
    if (pages.at(-1)?.pgno === pgno) pages.pop()
    pages.push(page)
  }
  return pages
}

/**
 * Whether `next`, which follows `previous` in the log, only repeats its commit frame (page number, size and content), as SQLite does to
 * fill a sector. It then changes nothing and belongs to `previous`, see `withPadding`.
 */
export function isPadding(header: WalHeader, previous: WalTransaction, next: WalTransaction, readAt: ReadAt): boolean {
  if (next.pgnos.length !== 1 || next.start !== previous.end.offset || next.commit !== previous.commit) return false
  if (next.pgnos[0] !== previous.pgnos.at(-1)) return false
  const { pageSize } = header
  const images = new Uint8Array(2 * pageSize)
  const before = images.subarray(0, pageSize)
  const after = images.subarray(pageSize)
  if (readAt(before, previous.end.offset - pageSize) !== pageSize) return false
  if (readAt(after, next.end.offset - pageSize) !== pageSize) return false
  return Buffer.compare(before, after) === 0
}

/** `previous` with the frame of `next` added, which repeats its commit frame. */
export function withPadding(previous: WalTransaction, next: WalTransaction): WalTransaction {
  const pgnos = new Uint32Array(previous.pgnos.length + next.pgnos.length)
  pgnos.set(previous.pgnos)
  pgnos.set(next.pgnos, previous.pgnos.length)
  return { ...previous, end: next.end, pgnos }
}

function readTransaction(header: WalHeader, from: WalCursor, reader: ChunkReader): WalTransaction | undefined {
  const frameSize = FRAME_HEADER_SIZE + header.pageSize
  const { bytes, view } = reader
  const state = Uint32Array.of(from.s1, from.s2)
  let pgnos = new Uint32Array(16)
  let count = 0
  for (let offset = from.offset; ; offset += frameSize) {
    const frame = reader.find(offset, frameSize)
    if (frame < 0) return undefined
    const pgno = view.getUint32(frame)
    if (pgno === 0) return undefined
    if (view.getUint32(frame + 8) !== header.salt1 || view.getUint32(frame + 12) !== header.salt2) return undefined
    chainFrame(state, header, bytes, frame)
    const [s1 = 0, s2 = 0] = state
    if (view.getUint32(frame + 16) !== s1 || view.getUint32(frame + 20) !== s2) return undefined

    if (count === pgnos.length) pgnos = grown(pgnos)
    pgnos[count++] = pgno
    const commit = view.getUint32(frame + 4)
    if (commit === 0) continue
    const end = { offset: offset + frameSize, s1, s2 }
    return { start: from.offset, end, commit, pgnos: pgnos.slice(0, count) }
  }
}

function grown(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * array.length)
  larger.set(array)
  return larger
}

/** Pairs of page number and frame index in ascending order, sorted natively as 64-bit numbers with the page number in the upper half. */
function* sortedFrames(pgnos: Uint32Array): Generator<[pgno: number, frame: number]> {
  const halves = new Uint32Array(2 * pgnos.length)
  const upper = LITTLE_ENDIAN ? 1 : 0
  for (const [frame, pgno] of pgnos.entries()) {
    halves[2 * frame + upper] = pgno
    halves[2 * frame + 1 - upper] = frame
  }
  new BigUint64Array(halves.buffer).sort()
  for (let i = 0; i < halves.length; i += 2) {
    yield [Number(halves[i + upper]), Number(halves[i + 1 - upper])]
  }
}
