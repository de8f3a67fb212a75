import { CHECKSUM_FLAG } from './checksum.js'
import { LtxError } from './error.js'
import { formatTxid, type Position } from './names.js'

export const HEADER_SIZE = 100

/** Header flag of version 1 only: the page block is one LZ4 frame. */
export const FLAG_LZ4 = 0x1
/** Header flag: no database checksums are tracked (Litestream's files). Version 1 had it in Go's ltx v0.3.15 to v0.3.18 only. */
export const FLAG_NO_CHECKSUM = 0x2

const MAGIC = 0x4c545831 // "LTX1", the same in every version
const RESERVED_START = 80
const SOURCE_MAGIC = 0x4c465331 // "LFS1": in the reserved bytes, which Go's ltx hashes and does not look at
const MAX_SAFE_HI = 0x1fffff // upper half of Number.MAX_SAFE_INTEGER

/** Versions that we read. Version 2 was only ever written by Litestream's test releases. */
export type LtxVersion = 1 | 2 | 3

/** First 100 bytes of a file: which transactions it holds and what it applies to. */
export interface LtxHeader {
  /** FLAG_NO_CHECKSUM, or 0 (version 1: FLAG_LZ4). */
  flags: number
  /** Bytes; power of two, 512 to 65536. */
  pageSize: number
  /** Size of the database after this file, in pages; 0 drops the database. */
  commit: number
  minTxid: bigint
  maxTxid: bigint
  /** Milliseconds since 1970. */
  timestamp: number
  /** Database checksum before this file; zero if minTxid is 1 or checksums are not tracked. */
  preApplyChecksum: bigint
  /** Byte offset of these transactions in the WAL they came from; zero if from a journal. */
  walOffset: number
  /** Their length in that WAL, bytes; zero if from a journal. */
  walSize: number
  /** Salts of that WAL; zero if from a journal or after compaction. */
  walSalt1: number
  walSalt2: number
  /** Node that wrote the file; zero if unset. */
  nodeId: bigint
  /**
   * Only in backups, whose TXIDs are their own: where the database that was backed up stood after this file. In the reserved bytes: `LFS1`, TXID
   * u64, checksum u64; zeros where there is none.
   */
  sourcePosition?: Position
}

/** A file that starts at the first transaction carries the whole database. */
export function isSnapshot(header: LtxHeader): boolean {
  return header.minTxid === 1n
}

/** Whether this file's database checksums are kept. */
export function tracksChecksums(header: LtxHeader): boolean {
  return (header.flags & FLAG_NO_CHECKSUM) === 0
}

/** The header's 100 bytes. Does not check meaning: see checkHeader. */
export function encodeHeader(header: LtxHeader): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_SIZE)
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_SIZE)
  view.setUint32(0, MAGIC)
  view.setUint32(4, header.flags)
  view.setUint32(8, header.pageSize)
  view.setUint32(12, header.commit)
  view.setBigUint64(16, header.minTxid)
  view.setBigUint64(24, header.maxTxid)
  setInt64(view, 32, header.timestamp)
  view.setBigUint64(40, header.preApplyChecksum)
  setInt64(view, 48, header.walOffset)
  setInt64(view, 56, header.walSize)
  view.setUint32(64, header.walSalt1)
  view.setUint32(68, header.walSalt2)
  view.setBigUint64(72, header.nodeId)
  bytes.fill(0, RESERVED_START)
  if (header.sourcePosition !== undefined) {
    view.setUint32(RESERVED_START, SOURCE_MAGIC)
    view.setBigUint64(RESERVED_START + 4, header.sourcePosition.txid)
    view.setBigUint64(RESERVED_START + 12, header.sourcePosition.checksum)
  }
  return bytes
}

/** Reads a header at `offset`. Checks the shape (magic, reserved bytes, safe numbers), throws LtxError; meaning: checkHeader. */
export function decodeHeader(bytes: Uint8Array, offset = 0): LtxHeader {
  if (bytes.length - offset < HEADER_SIZE) throw new LtxError('Cannot read LTX file: it is shorter than its header')
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, HEADER_SIZE)
  if (view.getUint32(0) !== MAGIC) throw new LtxError('Cannot read LTX file: it does not start with "LTX1"')
  const sourcePosition = readSourcePosition(view)
  return {
    flags: view.getUint32(4),
    pageSize: view.getUint32(8),
    commit: view.getUint32(12),
    minTxid: view.getBigUint64(16),
    maxTxid: view.getBigUint64(24),
    timestamp: readInt64(view, 32, 'timestamp'),
    preApplyChecksum: view.getBigUint64(40),
    walOffset: readInt64(view, 48, 'WAL offset'),
    walSize: readInt64(view, 56, 'WAL size'),
    walSalt1: view.getUint32(64),
    walSalt2: view.getUint32(68),
    nodeId: view.getBigUint64(72),
    ...(sourcePosition && { sourcePosition }),
  }
}

function readSourcePosition(view: DataView): Position | undefined {
  if (view.getUint32(RESERVED_START) === SOURCE_MAGIC) {
    return { txid: view.getBigUint64(RESERVED_START + 4), checksum: view.getBigUint64(RESERVED_START + 12) }
  }
  for (let i = RESERVED_START; i < HEADER_SIZE; i += 4) {
    if (view.getUint32(i) !== 0) throw new LtxError(`Cannot read LTX file: reserved header bytes at ${i} are not zero`)
  }
  return undefined
}

/** Checks that the header's values fit each other and `version`. Throws LtxError. */
export function checkHeader(header: LtxHeader, version: LtxVersion = 3): void {
  const reason = headerFault(header, version)
  if (reason !== undefined) throw new LtxError(`Invalid LTX header: ${reason}`)
}

function headerFault(header: LtxHeader, version: LtxVersion): string | undefined {
  const legalFlags = version === 1 ? FLAG_LZ4 | FLAG_NO_CHECKSUM : FLAG_NO_CHECKSUM
  if ((header.flags & ~legalFlags) !== 0) return `unknown flags 0x${header.flags.toString(16)}`
  const { pageSize, minTxid, maxTxid } = header
  if (pageSize < 512 || pageSize > 65536 || (pageSize & (pageSize - 1)) !== 0) return `page size ${pageSize}`
  if (minTxid < 1n || minTxid > maxTxid) return `TXIDs ${formatTxid(minTxid)} to ${formatTxid(maxTxid)}`
  if (header.commit === 0 && !tracksChecksums(header)) return 'a drop (commit 0) without checksums'
  if (header.sourcePosition !== undefined && tracksChecksums(header)) return 'a source position in no backup'
  return preApplyFault(header) ?? walFault(header)
}

function preApplyFault(header: LtxHeader): string | undefined {
  const checksum = header.preApplyChecksum
  if (isSnapshot(header)) return checksum === 0n ? undefined : 'a snapshot with a pre-apply checksum'
  if (!tracksChecksums(header)) return checksum === 0n ? undefined : 'a pre-apply checksum where none is tracked'
  return checksum >= CHECKSUM_FLAG ? undefined : `pre-apply checksum ${formatTxid(checksum)} lacks its top bit`
}

function walFault(header: LtxHeader): string | undefined {
  const { walOffset, walSize } = header
  if (walOffset < 0 || walSize < 0) return `negative WAL offset or size (${walOffset}, ${walSize})`
  if (walOffset === 0 && (header.walSalt1 !== 0 || header.walSalt2 !== 0)) return 'WAL salts without a WAL offset'
  if (walOffset === 0 && walSize !== 0) return 'a WAL size without a WAL offset'
  return undefined
}

function setInt64(view: DataView, offset: number, value: number): void {
  const hi = Math.floor(value / 0x100000000)
  view.setInt32(offset, hi)
  view.setUint32(offset + 4, value - hi * 0x100000000)
}

function readInt64(view: DataView, offset: number, what: string): number {
  const hi = view.getInt32(offset)
  if (hi > MAX_SAFE_HI || hi < -MAX_SAFE_HI) throw new LtxError(`Cannot read LTX file: ${what} is out of range`)
  return hi * 0x100000000 + view.getUint32(offset + 4)
}
