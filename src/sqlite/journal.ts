/**
 * The rollback journal ("Database File Format", section 3): segments, each a header that fills a sector and then records of a page number,
 * the page as it was before the transaction, and a checksum. A transaction that had to make room in its cache has several segments.
 *
 *     header  0 magic (8 bytes)  8 record count  12 nonce  16 initial page count  20 sector size  24 page size
 *     record  0 pgno  4 page  4 + page size  checksum
 *     end     super-journal's name, its length, sum of its bytes, magic (only in transactions over several databases)
 *
 * All integers are big-endian. Rules as for a journal that another process left behind: SQLite itself plays back only a journal whose
 * database is not empty, whose first byte is not zero, and whose super-journal, if it names one, still exists. Otherwise the transaction
 * was committed (or the journal never became valid), and the journal is only removed.
 */

import { ChunkReader, type ReadAt } from './chunk-reader.js'
import { isPageSize } from './database-header.js'
import { lockPage } from './locks.js'

/** Bytes of the journal header that carry fields. */
export const JOURNAL_HEADER_SIZE = 28
/** Record count that means "to the end of the file" (`synchronous=OFF`, and file systems that append safely). */
export const RECORDS_TO_END = 0xffffffff

const MAGIC = Uint8Array.of(0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7)
/** SQLite takes nothing shorter than a sector for a journal, and before it has read the header it assumes this sector size. */
const MIN_JOURNAL_SIZE = 512
const MIN_SECTOR_SIZE = 32
const MAX_SECTOR_SIZE = 65536
/** A record's page number before the page and its checksum after it. */
const RECORD_OVERHEAD = 8
/** Every 200th byte of a page, counted from its end, is added to the checksum; the first byte of the page never is. */
const CHECKSUM_STRIDE = 200
/** Length of the name, sum of its bytes, magic. */
const SUPER_JOURNAL_TRAILER_SIZE = 16
/** MAX_PATHNAME of SQLite's unix VFS, in bytes. */
const MAX_SUPER_JOURNAL_NAME = 512

export interface JournalHeader {
  /** Number of records in the segment, or RECORDS_TO_END. Zero until SQLite has synced the segment. */
  recordCount: number
  /** Start value of the records' checksums. */
  nonce: number
  /** Size of the database in pages before the transaction, to which a rollback truncates (or extends) it; zero for a new database. */
  initialPageCount: number
  /** Bytes to whose multiples the segments' headers are aligned, a power of two in 32..65536. */
  sectorSize: number
  /** Bytes per page, a power of two in 512..65536. */
  pageSize: number
}

export interface JournalRecord {
  pgno: number
  /** The page before the transaction; valid until the next record is asked for. */
  data: Uint8Array
}

/**
 * Reads the journal's first header from at least its 28 bytes. Returns undefined where there is nothing to roll back: magic missing
 * (not yet synced, or zeroed by `journal_mode=PERSIST`), sizes impossible, too short.
 * Before 3.5.8 SQLite wrote no page size: `databasePageSize` (bytes) stands in for it, and without it such a header is refused.
 */
export function parseJournalHeader(bytes: Uint8Array, databasePageSize = 0): JournalHeader | undefined {
  if (bytes.length < JOURNAL_HEADER_SIZE || !hasMagic(bytes, 0)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, JOURNAL_HEADER_SIZE)
  const sectorSize = view.getUint32(20)
  const storedPageSize = view.getUint32(24)
  const pageSize = storedPageSize === 0 ? databasePageSize : storedPageSize
  if (!isPageSize(pageSize) || !isSectorSize(sectorSize)) return undefined
  return {
    recordCount: view.getUint32(8),
    nonce: view.getUint32(12),
    initialPageCount: view.getUint32(16),
    sectorSize,
    pageSize,
  }
}

/**
 * The first header of a journal of `size` bytes, or undefined where there is nothing to roll back.
 * To roll back as SQLite does: bring the database file to `initialPageCount` pages of `pageSize` bytes (cut it when longer; extend it
 * with zeros when it is short of a page or more), then write the pages of `journalRecords` in their order. The header has no checksum:
 * after a power failure the count can be anything up to 2^32 - 1.
 */
export function readJournalHeader(readAt: ReadAt, size: number, databasePageSize = 0): JournalHeader | undefined {
  if (size < MIN_JOURNAL_SIZE) return undefined
  const bytes = new Uint8Array(JOURNAL_HEADER_SIZE)
  if (readAt(bytes, 0) !== bytes.length) return undefined
  return parseJournalHeader(bytes, databasePageSize)
}

/**
 * Yields the pages to write back of a journal of `size` bytes, in file order over all segments. Ends where SQLite ends: at a segment
 * without the magic, at a record that is cut off, has a wrong checksum, or is for page 0 or the lock page. Records past the initial size are
 * left out, their checksums unseen. A segment whose count is zero was never synced, so none of its pages can have been changed.
 * Memory: one record, at most 64 KiB + 8 bytes.
 */
export function* journalRecords(readAt: ReadAt, size: number, databasePageSize = 0): Generator<JournalRecord> {
  const header = readJournalHeader(readAt, size, databasePageSize)
  if (header === undefined) return
  const { pageSize, sectorSize, initialPageCount } = header
  const recordSize = pageSize + RECORD_OVERHEAD
  const reader = new ChunkReader(readAt, new Uint8Array(recordSize), size)
  let segment = { recordCount: header.recordCount, nonce: header.nonce }
  let offset = 0
  for (;;) {
    offset += sectorSize
    for (let record = 0; record < segment.recordCount; record++) {
      const position = reader.find(offset, recordSize)
      if (position < 0) return
      const pgno = reader.view.getUint32(position)
      if (pgno === 0 || pgno === lockPage(pageSize)) return
      if (pgno <= initialPageCount) {
        const page = position + 4
        const data = reader.bytes.subarray(page, page + pageSize)
        if (reader.view.getUint32(page + pageSize) !== pageChecksum(data, segment.nonce)) return
        yield { pgno, data }
      }
      offset += recordSize
    }
    offset = Math.ceil(offset / sectorSize) * sectorSize
    const next = readSegmentHeader(reader, offset, sectorSize, size)
    if (next === undefined) return
    segment = next
  }
}

/**
 * Name of the super-journal at the end of a journal of `size` bytes, as the writing process called it; undefined when there is none or its
 * checksum is wrong. If that file does not exist, the transaction was committed and must not be rolled back.
 */
export function superJournalName(readAt: ReadAt, size: number): string | undefined {
  if (size < SUPER_JOURNAL_TRAILER_SIZE) return undefined
  const trailer = new Uint8Array(SUPER_JOURNAL_TRAILER_SIZE)
  const trailerOffset = size - SUPER_JOURNAL_TRAILER_SIZE
  if (readAt(trailer, trailerOffset) !== trailer.length || !hasMagic(trailer, 8)) return undefined
  const view = new DataView(trailer.buffer)
  const length = view.getUint32(0)
  if (length === 0 || length > MAX_SUPER_JOURNAL_NAME || length > trailerOffset) return undefined

  const name = Buffer.alloc(length)
  if (readAt(name, trailerOffset - length) !== length) return undefined
  if (!isNameChecksum(name, view.getUint32(4))) return undefined
  const end = name.indexOf(0)
  const text = name.toString('utf8', 0, end < 0 ? length : end)
  return text === '' ? undefined : text
}

/**
 * The header of a journal with one segment, filling a sector: `header.sectorSize` bytes. With a record count of zero nothing is rolled
 * back; so write it last, or again, when the records are there.
 */
export function encodeJournalHeader(header: JournalHeader): Uint8Array {
  const bytes = new Uint8Array(header.sectorSize)
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint32(8, header.recordCount)
  view.setUint32(12, header.nonce)
  view.setUint32(16, header.initialPageCount)
  view.setUint32(20, header.sectorSize)
  view.setUint32(24, header.pageSize)
  return bytes
}

/** Bytes of a record for a page of `pageSize` bytes. */
export function journalRecordSize(pageSize: number): number {
  return pageSize + RECORD_OVERHEAD
}

/** Completes the record at `offset` of `bytes`, where the page stands already behind 4 bytes for its number. */
export function sealJournalRecord(
  bytes: Uint8Array,
  offset: number,
  pgno: number,
  header: Pick<JournalHeader, 'nonce' | 'pageSize'>,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, journalRecordSize(header.pageSize))
  const page = offset + 4
  view.setUint32(0, pgno)
  view.setUint32(4 + header.pageSize, pageChecksum(bytes.subarray(page, page + header.pageSize), header.nonce))
}

/** Later headers give only their record count and nonce; SQLite wants a whole sector for them but does not look at the rest. */
function readSegmentHeader(
  reader: ChunkReader,
  offset: number,
  sectorSize: number,
  size: number,
): { recordCount: number; nonce: number } | undefined {
  if (offset + sectorSize > size) return undefined
  const position = reader.find(offset, MAGIC.length + 8)
  if (position < 0 || !hasMagic(reader.bytes, position)) return undefined
  return {
    recordCount: reader.view.getUint32(position + 8),
    nonce: reader.view.getUint32(position + 12),
  }
}

function hasMagic(bytes: Uint8Array, offset: number): boolean {
  return MAGIC.every((value, index) => bytes[offset + index] === value)
}

function isSectorSize(value: number): boolean {
  return value >= MIN_SECTOR_SIZE && value <= MAX_SECTOR_SIZE && (value & (value - 1)) === 0
}

function pageChecksum(data: Uint8Array, nonce: number): number {
  let sum = nonce
  for (let i = data.length - CHECKSUM_STRIDE; i > 0; i -= CHECKSUM_STRIDE) sum += Number(data[i])
  return sum >>> 0
}

/** SQLite adds C `char`s, which are signed on x86 and unsigned on ARM; a name past ASCII may come from either. */
function isNameChecksum(name: Uint8Array, checksum: number): boolean {
  const unsigned = name.reduce((sum, byte) => sum + byte, 0)
  const signed = new Int8Array(name).reduce((sum, byte) => sum + byte, 0)
  return checksum === unsigned >>> 0 || checksum === signed >>> 0
}
