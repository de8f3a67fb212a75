import fs from 'node:fs'
import { DATABASE_HEADER_SIZE, parseDatabaseHeader } from '../sqlite/database-header.js'
import { journalRecords, readJournalHeader, superJournalName } from '../sqlite/journal.js'
import type { ReadAt } from '../sqlite/wal-scan.js'
import type { DatabaseLayout } from './layout.js'
import { syncDirectory } from './ltx-spool.js'
import { writeFully } from './write-fully.js'

/**
 * What a start found beside the database. `committed`: the super-journal is gone, so its transaction stands although the journal is there.
 * The journal stays until that transaction is captured: nothing else tells that it is to be.
 */
export type JournalOutcome = 'none' | 'rolled back' | 'committed'

/**
 * Ends a hot journal as SQLite's next reader would, before anybody reads: pages back into the database, database back to its size, both on
 * disk, then the journal removed. Does the same again when it was interrupted. A journal that is not hot stays.
 */
export function recoverJournal(layout: DatabaseLayout, superJournalExists: (name: string) => boolean): JournalOutcome {
  if (!fs.existsSync(layout.journal)) return 'none'
  const journal = fs.openSync(layout.journal, 'r')
  try {
    const { size } = fs.fstatSync(journal)
    const readAt = reader(journal)
    const pageSize = pageSizeOf(layout.database)
    if (size === 0 || firstByte(readAt) === 0) return 'none'
    // Without a header or without a database there is nothing to play back; SQLite deletes such a journal too.
    const empty = (fs.statSync(layout.database, { throwIfNoEntry: false })?.size ?? 0) === 0
    if (empty || readJournalHeader(readAt, size, pageSize) === undefined) {
      removeJournal(layout)
      return 'none'
    }
    const superJournal = superJournalName(readAt, size)
    if (superJournal !== undefined && !superJournalExists(superJournal)) return 'committed'
    rollBack(layout.database, readAt, size, pageSize)
    removeJournal(layout)
    return 'rolled back'
  } finally {
    fs.closeSync(journal)
  }
}

/** Reads a whole range, or as much of it as the file has. */
export function reader(fd: number): ReadAt {
  return (into, offset) => {
    let done = 0
    while (done < into.length) {
      const n = fs.readSync(fd, into, done, into.length - done, offset + done)
      if (n === 0) break
      done += n
    }
    return done
  }
}

/** Removes a journal that has no more to say, and its name from the disk. */
export function removeJournal(layout: DatabaseLayout): void {
  fs.unlinkSync(layout.journal)
  syncDirectory(layout.dir)
}

/** Zero: the journal was ended by zeroing its header. */
function firstByte(readAt: ReadAt): number {
  const byte = new Uint8Array(1)
  readAt(byte, 0)
  return byte[0] ?? 0
}

function rollBack(database: string, readAt: ReadAt, size: number, databasePageSize: number): void {
  const header = readJournalHeader(readAt, size, databasePageSize)
  if (header === undefined) return
  const fd = fs.openSync(database, 'r+')
  try {
    for (const record of journalRecords(readAt, size, databasePageSize)) {
      writeFully(fd, record.data, (record.pgno - 1) * header.pageSize)
    }
    fs.ftruncateSync(fd, header.initialPageCount * header.pageSize)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

function pageSizeOf(database: string): number {
  if (!fs.existsSync(database)) return 0
  const fd = fs.openSync(database, 'r')
  try {
    const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
    reader(fd)(bytes, 0)
    return parseDatabaseHeader(bytes)?.pageSize ?? 0
  } finally {
    fs.closeSync(fd)
  }
}
