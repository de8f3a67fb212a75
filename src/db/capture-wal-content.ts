import type { BackingFile } from './backing-file.js'
import type { Committer } from './committer.js'
import type { DatabaseFiles } from './database-files.js'
import { readWal, type WalContent } from './recover-wal.js'
import { NO_WAL, withGrowth } from './transaction.js'

/**
 * Captures what SQLite finds in a WAL that it did not write itself, as one transaction of the pages that differ. Gives what is in the WAL;
 * undefined, with nothing captured, when there is no transaction in it. Throws when the transaction cannot be stored.
 */
export function captureWalContent(
  wal: BackingFile,
  files: DatabaseFiles,
  committer: Committer,
): WalContent | undefined {
  const found = readWal((into, offset) => wal.read(into, 0, into.length, offset))
  if (found === undefined) return undefined
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

/** A page as the database file has it, zeros where it does not. */
export function readDatabasePage(files: DatabaseFiles, pgno: number, into: Uint8Array): void {
  const read = (file: BackingFile) => file.read(into, 0, into.length, (pgno - 1) * into.length)
  into.fill(0, files.exists('database') ? files.with('database', read) : 0)
}
