/**
 * The header of the wal-index, the `-shm` file ("WAL-Mode File Format", section 2): two equal copies of 48 bytes, then 40 bytes of
 * checkpoint information.
 *
 *     copy    0 version  4 unused  8 change counter  12 isInit (1 byte)  13 big-endian checksums (1 byte)  14 page size (2 bytes)
 *            16 mxFrame  20 nPage  24 frame checksum (2 words)  32 salts (2 words)  40 checksum (2 words)
 *     after  96 nBackfill  100 read marks (5 words)  120 lock bytes (8)  128 nBackfillAttempted  132 unused
 *
 * Integers are in native byte order, except the salts, which are copied from the log's header as they stand.
 */

import { walChecksum } from '../native.js'
import { WAL_READ_LOCK_COUNT } from './locks.js'

export const WAL_INDEX_HEADER_SIZE = 136
/** Where the checkpoint information begins, and of it the read marks; both in bytes. */
export const NBACKFILL_OFFSET = 96
export const READ_MARKS_OFFSET = 100
export const NBACKFILL_ATTEMPTED_OFFSET = 128
/** Value of a read mark that nobody uses. */
export const READ_MARK_UNUSED = 0xffffffff

const COPY_SIZE = 48
const CHECKED_SIZE = 40
const VERSION = 3007000
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

export interface WalIndexHeader {
  /** Whether SQLite believes it: both copies equal, initialised, version and checksum right. A writer at work or a crash makes it false. */
  valid: boolean
  /** Incremented with every transaction. */
  changeCounter: number
  /** Byte order of the log's checksums. */
  bigEndian: boolean
  /** Bytes per page; zero while nothing was written to the log since its recovery. */
  pageSize: number
  /** Number of the last committed frame, 1-based; zero when the log holds nothing. */
  mxFrame: number
  /** Database size in pages; zero when the log holds nothing. */
  nPage: number
  /** Running checksum of the log after frame mxFrame. */
  s1: number
  s2: number
  salt1: number
  salt2: number
  /** Number of frames that are known to be in the database file. */
  nBackfill: number
  /** Frame up to which the readers of each slot may read, or READ_MARK_UNUSED; slot 0 stands for the database file alone. */
  readMarks: number[]
}

/**
 * Reads the first 136 bytes of a wal-index. With `valid` false the other fields are what the first copy says and mean nothing.
 * Fewer bytes (a wal-index not yet filled) count as zeros.
 */
export function parseWalIndexHeader(bytes: Uint8Array): WalIndexHeader {
  const copy = new Uint8Array(WAL_INDEX_HEADER_SIZE)
  copy.set(bytes.subarray(0, WAL_INDEX_HEADER_SIZE))
  const view = new DataView(copy.buffer)
  const storedPageSize = view.getUint16(14, LITTLE_ENDIAN)
  const pageSize = (storedPageSize & 0xfe00) + ((storedPageSize & 1) << 16)
  return {
    valid: isBelievable(copy, view),
    changeCounter: view.getUint32(8, LITTLE_ENDIAN),
    bigEndian: view.getUint8(13) !== 0,
    pageSize,
    mxFrame: view.getUint32(16, LITTLE_ENDIAN),
    nPage: view.getUint32(20, LITTLE_ENDIAN),
    s1: view.getUint32(24, LITTLE_ENDIAN),
    s2: view.getUint32(28, LITTLE_ENDIAN),
    salt1: view.getUint32(32),
    salt2: view.getUint32(36),
    nBackfill: view.getUint32(NBACKFILL_OFFSET, LITTLE_ENDIAN),
    readMarks: Array.from({ length: WAL_READ_LOCK_COUNT }, (_, slot) =>
      view.getUint32(READ_MARKS_OFFSET + 4 * slot, LITTLE_ENDIAN),
    ),
  }
}

/** What a writer decides of the header; the rest of WalIndexHeader belongs to readers and checkpoints. */
export type WalIndexCommit = Pick<
  WalIndexHeader,
  'changeCounter' | 'bigEndian' | 'pageSize' | 'mxFrame' | 'nPage' | 's1' | 's2' | 'salt1' | 'salt2'
>

/** One copy of the header, initialised and with its checksum: 48 bytes. */
export function encodeWalIndexCopy(header: WalIndexCommit): Uint8Array {
  const bytes = new Uint8Array(COPY_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, VERSION, LITTLE_ENDIAN)
  view.setUint32(8, header.changeCounter, LITTLE_ENDIAN)
  view.setUint8(12, 1)
  view.setUint8(13, header.bigEndian ? 1 : 0)
  // 65536 does not fit: its bit 16 is kept in bit 0.
  view.setUint16(14, (header.pageSize & 0xff00) | (header.pageSize >> 16), LITTLE_ENDIAN)
  view.setUint32(16, header.mxFrame, LITTLE_ENDIAN)
  view.setUint32(20, header.nPage, LITTLE_ENDIAN)
  view.setUint32(24, header.s1, LITTLE_ENDIAN)
  view.setUint32(28, header.s2, LITTLE_ENDIAN)
  view.setUint32(32, header.salt1)
  view.setUint32(36, header.salt2)
  const state = new Uint32Array(2)
  walChecksum(state, bytes, 0, CHECKED_SIZE, !LITTLE_ENDIAN)
  view.setUint32(40, state[0] ?? 0, LITTLE_ENDIAN)
  view.setUint32(44, state[1] ?? 0, LITTLE_ENDIAN)
  return bytes
}

/**
 * Puts a copy of the header into a wal-index that others read at the same time, so that they take either the old header or the new one:
 * the second copy is written before the first, and they read the first before the second. `words` begins with the wal-index.
 */
export function publishWalIndexCopy(words: Uint32Array, copy: Uint8Array): void {
  const source = new Uint32Array(copy.buffer, copy.byteOffset, COPY_SIZE / 4)
  for (const start of [source.length, 0]) {
    // Sequentially consistent stores keep their order, also behind all that was written before.
    source.forEach((word, i) => {
      Atomics.store(words, start + i, word)
    })
  }
}

function isBelievable(bytes: Uint8Array, view: DataView): boolean {
  if (Buffer.compare(bytes.subarray(0, COPY_SIZE), bytes.subarray(COPY_SIZE, 2 * COPY_SIZE)) !== 0) return false
  if (view.getUint8(12) === 0 || view.getUint32(0, LITTLE_ENDIAN) !== VERSION) return false
  const state = new Uint32Array(2)
  walChecksum(state, bytes, 0, CHECKED_SIZE, !LITTLE_ENDIAN)
  return state[0] === view.getUint32(40, LITTLE_ENDIAN) && state[1] === view.getUint32(44, LITTLE_ENDIAN)
}
