import fs from 'node:fs'
import { crc64Update } from '../native.js'
import type { DatabaseLayout } from './layout.js'
import type { LtxSummary } from './ltx-file.js'
import { syncDirectory } from './ltx-spool.js'
import { PageState } from './page-state.js'

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

/** Saves the checksums of a database that nobody writes to any more. The file is complete or not there. */
export function saveChecksums(layout: DatabaseLayout, state: PageState): void {
  const bytes = Buffer.alloc(HEADER_SIZE + 8 * state.pageCount)
  bytes.writeUInt32BE(MAGIC, 0)
  bytes.writeUInt32BE(state.pageSize, 4)
  bytes.writeUInt32BE(state.pageCount, 8)
  bytes.writeBigUInt64BE(state.txid, 16)
  bytes.writeBigUInt64BE(state.checksum, 24)
  for (const [i, value] of identity(layout).entries()) bytes.writeDoubleBE(value, 32 + 8 * i)
  const pair = new Uint32Array(2)
  for (let pgno = 1; pgno <= state.pageCount; pgno++) {
    state.checksums.get(pgno, pair, 0)
    const at = HEADER_SIZE + 8 * (pgno - 1)
    bytes.writeUInt32BE(pair[0] ?? 0, at)
    bytes.writeUInt32BE(pair[1] ?? 0, at + 4)
  }
  const [hi = 0, lo = 0] = crcOf(bytes)
  bytes.writeUInt32BE(hi, CRC_OFFSET)
  bytes.writeUInt32BE(lo, CRC_OFFSET + 4)
  const temporary = `${layout.checksums}.tmp`
  fs.writeFileSync(temporary, bytes, { flush: true })
  fs.renameSync(temporary, layout.checksums)
  syncDirectory(layout.dir)
}

/**
 * The saved checksums, if they are those of the newest LTX file and neither database file nor WAL has changed since. They serve once:
 * the file is removed before it is used, so a crash can never leave it for a database that went on.
 */
export function loadChecksums(layout: DatabaseLayout, newest: LtxSummary | undefined): PageState | undefined {
  if (!fs.existsSync(layout.checksums)) return undefined
  const bytes = fs.readFileSync(layout.checksums)
  fs.unlinkSync(layout.checksums)
  syncDirectory(layout.dir)
  if (newest === undefined || !isSound(bytes)) return undefined
  const matches =
    bytes.readBigUInt64BE(16) === newest.header.maxTxid &&
    bytes.readBigUInt64BE(24) === newest.trailer.postApplyChecksum &&
    identity(layout).every((value, i) => value === bytes.readDoubleBE(32 + 8 * i))
  return matches ? parse(bytes) : undefined
}

function parse(bytes: Buffer): PageState {
  const state = new PageState()
  state.pageSize = bytes.readUInt32BE(4)
  state.pageCount = bytes.readUInt32BE(8)
  state.txid = bytes.readBigUInt64BE(16)
  state.hi = bytes.readUInt32BE(24)
  state.lo = bytes.readUInt32BE(28)
  for (let pgno = 1; pgno <= state.pageCount; pgno++) {
    const at = HEADER_SIZE + 8 * (pgno - 1)
    state.checksums.set(pgno, bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4))
  }
  return state
}

function isSound(bytes: Buffer): boolean {
  if (bytes.length < HEADER_SIZE || bytes.readUInt32BE(0) !== MAGIC) return false
  if (bytes.length !== HEADER_SIZE + 8 * bytes.readUInt32BE(8)) return false
  const [hi, lo] = crcOf(bytes)
  return bytes.readUInt32BE(CRC_OFFSET) === hi && bytes.readUInt32BE(CRC_OFFSET + 4) === lo
}

function crcOf(bytes: Uint8Array): Uint32Array {
  const crc = new Uint32Array(2)
  crc64Update(crc, bytes, 0, CRC_OFFSET)
  crc64Update(crc, bytes, HEADER_SIZE, bytes.length)
  return crc
}

function identity(layout: DatabaseLayout): number[] {
  return [layout.database, layout.wal].flatMap((file) => {
    const stat = fs.statSync(file, { throwIfNoEntry: false })
    return stat === undefined ? [0, 0, 0] : [stat.ino, stat.size, stat.mtimeMs]
  })
}
