import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { dirname } from 'node:path'
import { type LtxBody, readLtx, readLtxSlowly } from '../db/ltx-body.js'
import { syncDirectory } from '../db/ltx-spool.js'
import { PageWriter } from '../db/page-writer.js'
import { readPadded, writeFully } from '../db/write-fully.js'
import { lockPage } from '../ltx/checksum.js'
import { isSnapshot, type LtxHeader } from '../ltx/header.js'
import { DATABASE_HEADER_SIZE, databasePageCount, parseDatabaseHeader } from '../sqlite/database-header.js'
import { encodeJournalHeader, type JournalHeader, journalRecordSize, sealJournalRecord } from '../sqlite/journal.js'
import { encodeWalHeader, parseWalHeader } from '../sqlite/wal.js'
import { firstCursor } from '../sqlite/wal-scan.js'
import type { DatabasePaths } from './database-paths.js'
import { FrameWriter } from './frame-writer.js'
import { isLater, type SeenVersion, seenVersion } from './seen-version.js'

/** The smallest sector that SQLite writes journals for. */
const SECTOR_SIZE = 512
/** Records are collected up to this many bytes before they are written. */
const BUFFER_SIZE = 1 << 20

/** What a transaction is going to change. */
export interface Plan {
  readonly header: LtxHeader
  /** Bytes and pages of the database now; both zero when it is empty. */
  readonly pageSize: number
  readonly pageCount: number
  /** Ascending, the pages that the transaction sets; none where the database is empty, since there is nothing to save. */
  readonly pgnos: readonly number[]
  /** Whether readers who look at the change counter might keep what they have cached, although something changes. */
  readonly unnoticed: boolean
  /** What they may have cached before it; undefined where the database is empty. */
  readonly seen: SeenVersion | undefined
}

/**
 * Compares the LTX file with the database, for which it is read once, to the end, unless the database is empty. `known` is what readers are
 * known to have seen. Throws LtxError when it is bad. SHARED must be held.
 */
export function planTransaction(database: number, body: LtxBody, known: SeenVersion | undefined): Plan {
  const { size, ino } = fs.fstatSync(database)
  const firstBytes = new Uint8Array(DATABASE_HEADER_SIZE)
  readPadded(database, firstBytes, 0)
  const now = size === 0 ? undefined : parseDatabaseHeader(firstBytes)
  if (now === undefined && size > 0) throw new Error('Cannot apply a transaction: what is there is no SQLite database')
  if (now === undefined) {
    const header = readLtx(body, (decoder) => decoder.header)
    return { header, pageSize: 0, pageCount: 0, pgnos: [], unnoticed: false, seen: undefined }
  }
  const { pageSize } = now
  const pageCount = databasePageCount(now, size)

  const pgnos: number[] = []
  const original = Buffer.alloc(pageSize)
  let changed = false
  let { changeCounter } = now
  const header = readLtx(body, (decoder) => {
    for (const { pgno, data } of decoder.pages()) {
      pgnos.push(pgno)
      if (pgno === 1) changeCounter = parseDatabaseHeader(data)?.changeCounter ?? changeCounter
      if (changed || pageSize !== data.length) continue
      readPadded(database, original, (pgno - 1) * pageSize)
      changed = !original.equals(data)
    }
    return decoder.header
  })
  const differs = changed || pageCount !== header.commit
  const seen = seenVersion(ino, now, known)
  // A log has pages of the database's size only.
  const unnoticed = differs && pageSize === header.pageSize && !isLater(changeCounter, seen.counter)
  return { header, pageSize, pageCount, pgnos, unnoticed, seen }
}

/**
 * Writes the transaction that was planned to the database file, with a rollback journal beside it as long as it is not complete: whoever
 * opens the database after a crash takes back what is there of it. EXCLUSIVE must be held. Throws a system error or LtxError; the journal
 * then stays, and must be rolled back before anything else is written.
 */
export function writeTransaction(
  database: number,
  paths: DatabasePaths,
  body: LtxBody,
  plan: Plan,
  sync: boolean,
): void {
  const { header } = plan
  writeJournal(database, paths.journal, plan, sync)
  readLtx(body, (decoder) => {
    const write = (bytes: Uint8Array, offset: number) => writeFully(database, bytes, offset)
    const writer = new PageWriter(write, header.pageSize, header.commit)
    for (const { pgno, data } of decoder.pages()) writer.add(pgno, data)
    writer.flush()
  })
  fs.ftruncateSync(database, header.commit * header.pageSize)
  if (sync) fs.fsyncSync(database)
  fs.unlinkSync(paths.journal)
  if (sync) syncDirectory(dirname(paths.journal))
}

/**
 * Writes the transaction as a log beside the database instead: with one there, every connection opens it when it next begins to read, and
 * then forgets what it has cached. EXCLUSIVE must be held, and there must be no log. Throws a system error or LtxError; the log then holds
 * no transaction.
 */
export async function writeAsLog(paths: DatabasePaths, body: LtxBody, plan: Plan): Promise<void> {
  const fields = { bigEndian: false, pageSize: plan.pageSize, sequence: 0 }
  const salts = { salt1: randomBytes(4).readUInt32BE(), salt2: randomBytes(4).readUInt32BE() }
  const bytes = encodeWalHeader({ ...fields, ...salts })
  const log = parseWalHeader(bytes)
  assert(log !== undefined)
  const fd = fs.openSync(paths.wal, 'w', 0o644)
  const writer = new FrameWriter(fd, log, firstCursor(log))
  try {
    writeFully(fd, bytes, 0)
    await readLtxSlowly(body, (reader) => writer.add(reader.pages()))
    await writer.commit(plan.header.commit)
  } finally {
    await writer.close()
    fs.closeSync(fd)
  }
}

/** Saves every page that will be overwritten or cut off. The header comes last: before it, nothing would be rolled back. */
function writeJournal(database: number, path: string, plan: Plan, sync: boolean): void {
  const { pageSize, pageCount } = plan
  const saved = pagesToSave(plan)
  const header: JournalHeader = {
    recordCount: saved.length,
    nonce: randomBytes(4).readUInt32BE(),
    initialPageCount: pageCount,
    sectorSize: SECTOR_SIZE,
    pageSize: pageSize === 0 ? plan.header.pageSize : pageSize,
  }
  const fd = fs.openSync(path, 'w', 0o644)
  try {
    writeRecords(database, fd, header, saved)
    if (sync) fs.fsyncSync(fd)
    writeFully(fd, encodeJournalHeader(header), 0)
    if (sync) fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  if (sync) syncDirectory(dirname(path))
}

function writeRecords(database: number, journal: number, header: JournalHeader, pgnos: readonly number[]): void {
  const recordSize = journalRecordSize(header.pageSize)
  const buffer = Buffer.alloc(Math.min(pgnos.length, Math.floor(BUFFER_SIZE / recordSize)) * recordSize)
  let offset = header.sectorSize
  let used = 0
  for (const pgno of pgnos) {
    if (used === buffer.length) {
      writeFully(journal, buffer, offset)
      offset += used
      used = 0
    }
    readPadded(database, buffer.subarray(used + 4, used + 4 + header.pageSize), (pgno - 1) * header.pageSize)
    sealJournalRecord(buffer, used, pgno, header)
    used += recordSize
  }
  writeFully(journal, buffer.subarray(0, used), offset)
}

/** Pages that are there now and will not be as they are; under another page size, and for a snapshot, that is every page. */
function pagesToSave({ header, pageSize, pageCount, pgnos }: Plan): number[] {
  const lock = pageSize === 0 ? 0 : lockPage(pageSize)
  const replaced = header.pageSize !== pageSize || isSnapshot(header)
  const changed = replaced ? [] : pgnos.filter((pgno) => pgno <= pageCount)
  const firstCut = replaced ? 1 : header.commit + 1
  for (let pgno = firstCut; pgno <= pageCount; pgno++) changed.push(pgno)
  return changed.filter((pgno) => pgno !== lock)
}
