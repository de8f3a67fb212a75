/**
 * The write-ahead log ("WAL-Mode File Format", section 4): a header of 32 bytes, then frames of 24 bytes and a page each.
 *
 *     header  0 magic   4 version  8 page size  12 sequence  16 salt1  20 salt2  24 checksum1  28 checksum2
 *     frame   0 pgno    4 commit   8 salt1      12 salt2     16 checksum1  20 checksum2   24 page
 *
 * All integers are big-endian. The lowest bit of the magic gives the byte order in which the checksums read their input.
 */

import { walChecksum } from '../native.js'
import { isPageSize } from './database-header.js'

export const WAL_HEADER_SIZE = 32
export const FRAME_HEADER_SIZE = 24

const MAGIC_LITTLE_ENDIAN = 0x377f0682
const MAGIC_BIG_ENDIAN = 0x377f0683
const VERSION = 3007000
/** The header's checksum runs over the bytes before it. */
const CHECKED_HEADER_SIZE = 24
/** Of a frame header only the page number and the commit field are part of the checksum. */
const CHECKED_FRAME_HEADER_SIZE = 8

export interface WalHeader {
  /** Whether the checksums read their input as big-endian words. */
  bigEndian: boolean
  /** Bytes per page, a power of two in 512..65536. */
  pageSize: number
  /** Number of times the log was restarted; informative. */
  sequence: number
  salt1: number
  salt2: number
  /** The header's own checksum, from which the frames' checksums are chained. */
  s1: number
  s2: number
}

export interface FrameHeader {
  /** Page number, 1-based. */
  pgno: number
  /** Database size in pages after the transaction that ends here; zero inside a transaction. */
  commit: number
  salt1: number
  salt2: number
  /** Checksum of everything from the start of the log to the end of this frame, except salts and checksums of frames. */
  s1: number
  s2: number
}

/**
 * Reads the log header from at least its 32 bytes.
 * Returns undefined where SQLite ignores the log: wrong magic or checksum, impossible page size, too short. The same goes for another
 * format version, for which SQLite refuses to open the database at all.
 */
export function parseWalHeader(bytes: Uint8Array): WalHeader | undefined {
  if (bytes.length < WAL_HEADER_SIZE) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, WAL_HEADER_SIZE)
  const magic = view.getUint32(0)
  const pageSize = view.getUint32(8)
  if (magic !== MAGIC_LITTLE_ENDIAN && magic !== MAGIC_BIG_ENDIAN) return undefined
  if (view.getUint32(4) !== VERSION || !isPageSize(pageSize)) return undefined

  const bigEndian = magic === MAGIC_BIG_ENDIAN
  const [s1, s2] = headerChecksum(bytes, bigEndian)
  if (view.getUint32(24) !== s1 || view.getUint32(28) !== s2) return undefined
  return {
    bigEndian,
    pageSize,
    sequence: view.getUint32(12),
    salt1: view.getUint32(16),
    salt2: view.getUint32(20),
    s1,
    s2,
  }
}

/** Whether both are the header of the same log: each time it is begun again it has other salts. */
export function isSameWal(a: WalHeader, b: WalHeader | undefined): boolean {
  return b !== undefined && a.salt1 === b.salt1 && a.salt2 === b.salt2 && a.s1 === b.s1 && a.s2 === b.s2
}

/** Writes a log header with its checksum: 32 bytes, which `parseWalHeader` turns into a WalHeader with `s1` and `s2`. */
export function encodeWalHeader(header: Omit<WalHeader, 's1' | 's2'>): Uint8Array {
  const bytes = new Uint8Array(WAL_HEADER_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, header.bigEndian ? MAGIC_BIG_ENDIAN : MAGIC_LITTLE_ENDIAN)
  view.setUint32(4, VERSION)
  view.setUint32(8, header.pageSize)
  view.setUint32(12, header.sequence)
  view.setUint32(16, header.salt1)
  view.setUint32(20, header.salt2)
  const [s1, s2] = headerChecksum(bytes, header.bigEndian)
  view.setUint32(24, s1)
  view.setUint32(28, s2)
  return bytes
}

/** Reads the 24 bytes of a frame header at `offset` of `bytes`; nothing is checked. */
export function parseFrameHeader(bytes: Uint8Array, offset: number): FrameHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, FRAME_HEADER_SIZE)
  return {
    pgno: view.getUint32(0),
    commit: view.getUint32(4),
    salt1: view.getUint32(8),
    salt2: view.getUint32(12),
    s1: view.getUint32(16),
    s2: view.getUint32(20),
  }
}

/** Writes the 24 bytes of a frame header at `offset` of `into`, with the checksum as given; `chainFrame` computes it. */
export function encodeFrameHeader(into: Uint8Array, offset: number, frame: FrameHeader): void {
  const view = new DataView(into.buffer, into.byteOffset + offset, FRAME_HEADER_SIZE)
  view.setUint32(0, frame.pgno)
  view.setUint32(4, frame.commit)
  view.setUint32(8, frame.salt1)
  view.setUint32(12, frame.salt2)
  view.setUint32(16, frame.s1)
  view.setUint32(20, frame.s2)
}

/** Makes the frame at `offset` of `bytes`, which is there but for its commit field and checksum, the one after that of `state`, which is carried over it. */
export function sealFrame(
  state: Uint32Array,
  header: WalHeader,
  bytes: Uint8Array,
  offset: number,
  commit: number,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, FRAME_HEADER_SIZE)
  view.setUint32(4, commit)
  chainFrame(state, header, bytes, offset)
  view.setUint32(16, state[0] ?? 0)
  view.setUint32(20, state[1] ?? 0)
}

/**
 * Carries the running checksum `state` ([s1, s2]) over the frame (header and page) at `offset` of `bytes`.
 * Before the first frame, `state` is the header's s1 and s2; afterwards it is what the frame's checksum fields must hold.
 */
export function chainFrame(state: Uint32Array, header: WalHeader, bytes: Uint8Array, offset: number): void {
  const page = offset + FRAME_HEADER_SIZE
  walChecksum(state, bytes, offset, offset + CHECKED_FRAME_HEADER_SIZE, header.bigEndian)
  walChecksum(state, bytes, page, page + header.pageSize, header.bigEndian)
}

function headerChecksum(bytes: Uint8Array, bigEndian: boolean): [s1: number, s2: number] {
  const state = new Uint32Array(2)
  walChecksum(state, bytes, 0, CHECKED_HEADER_SIZE, bigEndian)
  const [s1 = 0, s2 = 0] = state
  return [s1, s2]
}
