import { crc64Update } from '../native.js'

/**
 * One record of the LTX log. All integers big-endian:
 *
 *     0 magic "LTXL"   4 kind u8   5 zero (1 byte)   6 length of the path u16   8 length of the data u32   12 zero (4 bytes)
 *    16 sequence u64  24 CRC-64/ISO u64 of bytes 0..24, path and data          32 path (UTF-8)              data
 *
 * A record is padded with zeros to a multiple of 8 bytes.
 */
export interface LogRecord {
  readonly kind: RecordKind
  /** One more than the record before. */
  readonly sequence: number
  /** Path of an LTX file relative to the data directory; empty for `retired`. */
  readonly path: string
  readonly data: Uint8Array
}

/**
 * `ltx`: the file holds `data`. `file`: the file is there, too large for the log. `undo`: there is no such file.
 * `retired`: what the records up to a sequence number say is on disk; `data` is that number, u64.
 */
export type RecordKind = 'ltx' | 'file' | 'undo' | 'retired'

const KINDS: readonly RecordKind[] = ['ltx', 'file', 'undo', 'retired']
const MAGIC = 0x4c54584c
const HEADER_SIZE = 32
const CRC_OFFSET = 24

/** Data of a `retired` record. */
export function retiredThrough(sequence: number): Buffer {
  const data = Buffer.alloc(8)
  data.writeUIntBE(sequence, 2, 6)
  return data
}

/** Bytes that the record takes in the log. */
export function recordSize(path: string, dataLength: number): number {
  return padded(HEADER_SIZE + Buffer.byteLength(path) + dataLength)
}

/** The record's bytes, in memory from `allocate`. */
export function encodeRecord(record: LogRecord, allocate: (length: number) => Buffer = Buffer.allocUnsafe): Buffer {
  const path = Buffer.from(record.path)
  const end = HEADER_SIZE + path.length + record.data.length
  const bytes = allocate(padded(end))
  bytes.fill(0, 0, HEADER_SIZE)
  bytes.fill(0, end)
  bytes.writeUInt32BE(MAGIC, 0)
  bytes.writeUInt8(KINDS.indexOf(record.kind), 4)
  bytes.writeUInt16BE(path.length, 6)
  bytes.writeUInt32BE(record.data.length, 8)
  bytes.writeUIntBE(record.sequence, 18, 6)
  bytes.set(path, HEADER_SIZE)
  bytes.set(record.data, HEADER_SIZE + path.length)
  const [hi = 0, lo = 0] = recordCrc(bytes, end)
  bytes.writeUInt32BE(hi, CRC_OFFSET)
  bytes.writeUInt32BE(lo, CRC_OFFSET + 4)
  return bytes
}

/** The data within an encoded record. */
export function dataOf(bytes: Buffer, path: string, length: number): Buffer {
  const start = HEADER_SIZE + Buffer.byteLength(path)
  return bytes.subarray(start, start + length)
}

/** The record at `offset` and where the next would be; undefined where there is no sound record. `data` points into `bytes`. */
export function decodeRecord(bytes: Buffer, offset: number): { record: LogRecord; next: number } | undefined {
  if (offset + HEADER_SIZE > bytes.length || bytes.readUInt32BE(offset) !== MAGIC) return undefined
  const kind = KINDS[bytes.readUInt8(offset + 4)]
  const pathLength = bytes.readUInt16BE(offset + 6)
  const dataLength = bytes.readUInt32BE(offset + 8)
  const end = offset + HEADER_SIZE + pathLength + dataLength
  if (kind === undefined || end > bytes.length || bytes.readUInt16BE(offset + 16) !== 0) return undefined
  const [hi, lo] = recordCrc(bytes.subarray(offset, end), end - offset)
  if (bytes.readUInt32BE(offset + CRC_OFFSET) !== hi || bytes.readUInt32BE(offset + CRC_OFFSET + 4) !== lo)
    return undefined
  const sequence = bytes.readUIntBE(offset + 18, 6)
  const path = bytes.toString('utf8', offset + HEADER_SIZE, offset + HEADER_SIZE + pathLength)
  const data = bytes.subarray(offset + HEADER_SIZE + pathLength, end)
  return { record: { kind, sequence, path, data }, next: offset + padded(end - offset) }
}

function recordCrc(bytes: Uint8Array, length: number): Uint32Array {
  const crc = new Uint32Array(2)
  crc64Update(crc, bytes, 0, CRC_OFFSET)
  crc64Update(crc, bytes, HEADER_SIZE, length)
  return crc
}

function padded(length: number): number {
  return Math.ceil(length / 8) * 8
}
