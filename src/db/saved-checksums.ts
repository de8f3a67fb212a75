import fs from 'node:fs'
import os from 'node:os'
import { crc64Update } from '../native.js'
import type { DatabaseLayout } from './layout.js'
import type { LtxSummary } from './ltx-file.js'
import { syncDirectory } from './ltx-spool.js'
import { PageState } from './page-state.js'
import { writeFully } from './write-fully.js'

/**
 * Page checksums that a clean shutdown left, so that the next start need not read the database. All integers big-endian:
 *
 *      0 magic "LFSC"      4 page size u32     8 page count u32   12 zero (4 bytes)
 *     16 TXID u64         24 checksum u64     32 identity of the database file and the WAL: 6 x f64 (inode, size, mtime of each, 0 if none)
 *     80 CRC-64/ISO u64 of everything else    88 one u64 per page
 */
const MAGIC = 0x4c465343
const HEADER_SIZE = 88
const CRC_OFFSET = 80

/** Checksums that are read and written at a time. */
const PIECE_PAGES = 65_536
const LITTLE_ENDIAN = os.endianness() === 'LE'

/** Saves the checksums of a database that nobody writes to any more. The file is complete or not there. */
export function saveChecksums(layout: DatabaseLayout, state: PageState): void {
  const temporary = `${layout.checksums}.tmp`
  const fd = fs.openSync(temporary, 'w', 0o644)
  try {
    write(fd, layout, state)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(temporary, layout.checksums)
  syncDirectory(layout.dir)
}

/**
 * The saved checksums, if they are those of the newest LTX file and neither database file nor WAL has changed since. They serve once:
 * the file is removed before it is used, so a crash can never leave it for a database that went on.
 */
export function loadChecksums(layout: DatabaseLayout, newest: LtxSummary | undefined): PageState | undefined {
  if (!fs.existsSync(layout.checksums)) return undefined
  const fd = fs.openSync(layout.checksums, 'r')
  try {
    fs.unlinkSync(layout.checksums)
    syncDirectory(layout.dir)
    return newest === undefined ? undefined : read(fd, layout, newest)
  } finally {
    fs.closeSync(fd)
  }
}

function write(fd: number, layout: DatabaseLayout, state: PageState): void {
  const header = Buffer.alloc(HEADER_SIZE)
  header.writeUInt32BE(MAGIC, 0)
  header.writeUInt32BE(state.pageSize, 4)
  header.writeUInt32BE(state.pageCount, 8)
  header.writeBigUInt64BE(state.txid, 16)
  header.writeBigUInt64BE(state.checksum, 24)
  for (const [i, value] of identity(layout).entries()) header.writeDoubleBE(value, 32 + 8 * i)
  const crc = new Uint32Array(2)
  crc64Update(crc, header, 0, CRC_OFFSET)
  for (const { first, count, sums, bytes } of pieces(state.pageCount)) {
    state.checksums.copy(first, count, sums)
    toBigEndian(bytes)
    crc64Update(crc, bytes, 0, bytes.length)
    writeFully(fd, bytes, HEADER_SIZE + 8 * (first - 1))
  }
  header.writeUInt32BE(crc[0] ?? 0, CRC_OFFSET)
  header.writeUInt32BE(crc[1] ?? 0, CRC_OFFSET + 4)
  writeFully(fd, header, 0)
}

function read(fd: number, layout: DatabaseLayout, newest: LtxSummary): PageState | undefined {
  const header = Buffer.alloc(HEADER_SIZE)
  if (fs.readSync(fd, header, 0, HEADER_SIZE, 0) < HEADER_SIZE || header.readUInt32BE(0) !== MAGIC) return undefined
  const state = new PageState()
  state.pageSize = header.readUInt32BE(4)
  state.pageCount = header.readUInt32BE(8)
  state.txid = header.readBigUInt64BE(16)
  if (fs.fstatSync(fd).size !== HEADER_SIZE + 8 * state.pageCount) return undefined
  const crc = new Uint32Array(2)
  crc64Update(crc, header, 0, CRC_OFFSET)
  for (const { first, count, sums, bytes } of pieces(state.pageCount)) {
    if (fs.readSync(fd, bytes, 0, bytes.length, HEADER_SIZE + 8 * (first - 1)) < bytes.length) return undefined
    crc64Update(crc, bytes, 0, bytes.length)
    toBigEndian(bytes)
    state.addPages(first, count, sums)
  }
  const sound = header.readUInt32BE(CRC_OFFSET) === crc[0] && header.readUInt32BE(CRC_OFFSET + 4) === crc[1]
  const matches =
    state.txid === newest.header.maxTxid &&
    state.checksum === newest.trailer.postApplyChecksum &&
    state.checksum === header.readBigUInt64BE(24) &&
    identity(layout).every((value, i) => value === header.readDoubleBE(32 + 8 * i))
  return sound && matches ? state : undefined
}

interface Piece {
  readonly first: number
  readonly count: number
  /** Pairs of this machine's numbers, and the same memory as bytes. Valid until the next piece. */
  readonly sums: Uint32Array
  readonly bytes: Buffer
}

function* pieces(pageCount: number): Generator<Piece> {
  const all = new Uint32Array(2 * Math.min(PIECE_PAGES, pageCount))
  for (let first = 1; first <= pageCount; first += PIECE_PAGES) {
    const count = Math.min(PIECE_PAGES, pageCount - first + 1)
    const sums = all.subarray(0, 2 * count)
    yield { first, count, sums, bytes: Buffer.from(sums.buffer, 0, sums.byteLength) }
  }
}

/** And back again. */
function toBigEndian(bytes: Buffer): void {
  if (LITTLE_ENDIAN) bytes.swap32()
}

function identity(layout: DatabaseLayout): number[] {
  return [layout.database, layout.wal].flatMap((file) => {
    const stat = fs.statSync(file, { throwIfNoEntry: false })
    return stat === undefined ? [0, 0, 0] : [stat.ino, stat.size, stat.mtimeMs]
  })
}
