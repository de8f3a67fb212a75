/**
 * The first 100 bytes of a database file ("Database File Format", section 1.3). All integers are big-endian.
 */

export const DATABASE_HEADER_SIZE = 100
export const MIN_PAGE_SIZE = 512
export const MAX_PAGE_SIZE = 65536

/** "SQLite format 3" and a NUL byte. */
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1')
/** SQLite refuses a page with fewer bytes left for content than this. */
const MIN_USABLE_SIZE = 480

export interface DatabaseHeader {
  /** Bytes per page, a power of two in 512..65536. */
  pageSize: number
  /** 1 for a rollback journal, 2 for WAL; larger: read-only for today's SQLite. */
  writeVersion: number
  /** 1 for a rollback journal, 2 for WAL; larger: not readable by today's SQLite. */
  readVersion: number
  /** Bytes at the end of each page that SQLite leaves to extensions. */
  reservedSize: number
  changeCounter: number
  /** Database size in pages as the header has it; see `databasePageCount` for when it counts. */
  pageCount: number
  schemaCookie: number
  /** Value of the change counter when `pageCount` was written. */
  versionValidFor: number
}

/**
 * Reads the database header from at least the first 100 bytes of a database.
 * Returns undefined when they are not a SQLite database's: wrong magic string, impossible page size or reserved size, or too short.
 */
export function parseDatabaseHeader(bytes: Uint8Array): DatabaseHeader | undefined {
  if (bytes.length < DATABASE_HEADER_SIZE) return undefined
  if (MAGIC.compare(bytes, 0, MAGIC.length) !== 0) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, DATABASE_HEADER_SIZE)
  const storedPageSize = view.getUint16(16)
  const pageSize = storedPageSize === 1 ? MAX_PAGE_SIZE : storedPageSize
  const reservedSize = view.getUint8(20)
  if (!isPageSize(pageSize) || pageSize - reservedSize < MIN_USABLE_SIZE) return undefined
  return {
    pageSize,
    writeVersion: view.getUint8(18),
    readVersion: view.getUint8(19),
    reservedSize,
    changeCounter: view.getUint32(24),
    pageCount: view.getUint32(28),
    schemaCookie: view.getUint32(40),
    versionValidFor: view.getUint32(92),
  }
}

/**
 * Sets change counter and size of a database in its first page, as a writer does that notes both (section 1.3.10): the size is valid for that
 * counter.
 */
export function setVersion(page: Uint8Array, changeCounter: number, pageCount: number): void {
  const view = new DataView(page.buffer, page.byteOffset, DATABASE_HEADER_SIZE)
  view.setUint32(24, changeCounter)
  view.setUint32(28, pageCount)
  view.setUint32(92, changeCounter)
}

/** Whether `value` is a page size that SQLite accepts: a power of two in 512..65536. */
export function isPageSize(value: number): boolean {
  return value >= MIN_PAGE_SIZE && value <= MAX_PAGE_SIZE && (value & (value - 1)) === 0
}

/**
 * Size of the database in pages by SQLite's rule: the header's count when it was written together with the change counter,
 * else the file's size in bytes, a partial last page counting as a page.
 */
export function databasePageCount(header: DatabaseHeader, fileSize: number): number {
  if (header.pageCount !== 0 && header.changeCounter === header.versionValidFor) return header.pageCount
  return Math.ceil(fileSize / header.pageSize)
}

/** Whether a file has fewer bytes than its pages need, by a page count that is valid: SQLite calls it malformed and writes none like it. */
export function isCutShort(header: DatabaseHeader, fileSize: number): boolean {
  return databasePageCount(header, fileSize) * header.pageSize > fileSize
}

/** Whether SQLite opens this database through a write-ahead log; the read version decides. */
export function isWalMode(header: DatabaseHeader): boolean {
  return header.readVersion === 2
}
