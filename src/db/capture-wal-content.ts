import { FRAME_HEADER_SIZE, parseFrameHeader, WAL_HEADER_SIZE } from '../sqlite/wal.js'
import type { ReadAt } from '../sqlite/wal-scan.js'
import type { BackingFile } from './backing-file.js'
import type { Committer } from './committer.js'
import type { DatabaseFiles } from './database-files.js'
import { readWal, type WalContent } from './recover-wal.js'
import { NO_WAL, withGrowth } from './transaction.js'

/**
 * Captures what SQLite finds in a WAL that it did not write itself, as one transaction of the pages that differ. Gives what is in the WAL;
 * undefined, with nothing captured, when there is no transaction in it, or when the database has no pages: SQLite then takes the WAL for a
 * leftover and deletes it. Throws when the transaction cannot be stored.
 */
export function captureWalContent(
  wal: BackingFile,
  files: DatabaseFiles,
  committer: Committer,
): WalContent | undefined {
  const found = readWal((into, offset) => wal.read(into, 0, into.length, offset))
  if (found === undefined || files.size('database') === 0) return undefined
  const { pageSize } = found.header
  const pgnos = withGrowth(new Uint32Array(0), 0, found.pageCount, pageSize)
  const read = (index: number, into: Uint8Array) => {
    const pgno = pgnos[index] ?? 0
    const image = found.images.get(pgno)
    if (image === undefined) readDatabasePage(files, pgno, into)
    else wal.read(into, 0, into.length, image)
  }
  const pages = { pageSize, pageCount: found.pageCount, pgnos, read }
  committer.commit(pages, { wal: NO_WAL, skipUnchanged: true, durable: true })
  return found
}

/**
 * A page by which the database grew without logging it (SQLite leaves out free pages). What SQLite would read there: a frame of the WAL
 * that ends at `before` or earlier, else the database file, else zeros.
 */
export function readUnloggedPage(
  files: DatabaseFiles,
  readAt: ReadAt,
  before: number,
  pgno: number,
  into: Uint8Array,
): void {
  const frameSize = FRAME_HEADER_SIZE + into.length
  const bytes = Buffer.alloc(FRAME_HEADER_SIZE)
  for (let offset = before - frameSize; offset >= WAL_HEADER_SIZE; offset -= frameSize) {
    readAt(bytes, offset)
    if (parseFrameHeader(bytes, 0).pgno === pgno) {
      readAt(into, offset + FRAME_HEADER_SIZE)
      return
    }
  }
  readDatabasePage(files, pgno, into)
}

/** A page as the database file has it, zeros where it does not. */
function readDatabasePage(files: DatabaseFiles, pgno: number, into: Uint8Array): void {
  const read = (file: BackingFile) => file.read(into, 0, into.length, (pgno - 1) * into.length)
  into.fill(0, files.exists('database') ? files.with('database', read) : 0)
}
