import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Database from 'better-sqlite3'
import { parseDatabaseHeader } from '../../src/sqlite/database-header.js'
import { journalRecords, readJournalHeader } from '../../src/sqlite/journal.js'
import { parseWalHeader, type WalHeader } from '../../src/sqlite/wal.js'
import {
  firstCursor,
  lastFrames,
  type ReadAt,
  type WalTransaction,
  walTransactions,
} from '../../src/sqlite/wal-scan.js'

/** A ReadAt over bytes in memory. */
export function readAtOf(bytes: Uint8Array): ReadAt {
  return (into, offset) => {
    const part = bytes.subarray(offset, offset + into.length)
    into.set(part)
    return part.length
  }
}

/** A new directory that goes away with the test. */
export function scratchDirectory(t: { teardown(fn: () => void): void }): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'litefs-sqlite-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A database and what stood beside it at one moment. */
export interface Pair {
  database: Buffer
  side: Buffer
}

/** Reads a database and its journal or WAL while a connection has them open. */
export function readPair(file: string, suffix: '-journal' | '-wal'): Pair {
  return { database: readFileSync(file), side: readFileSync(file + suffix) }
}

/** Puts a pair where nothing else is left of an earlier one, for SQLite to recover. */
export function writePair(file: string, suffix: '-journal' | '-wal', pair: Pair): void {
  for (const old of ['-journal', '-wal', '-shm']) rmSync(file + old, { force: true })
  writeFileSync(file, pair.database)
  writeFileSync(file + suffix, pair.side)
}

/** mulberry32: a seeded generator of 32-bit numbers, so that a failing round can be repeated. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** A copy of `bytes` with a few bits flipped, bytes zeroed or set, a word replaced, or its end cut off or extended. */
export function mutated(bytes: Uint8Array, random: (below: number) => number, span = bytes.length): Buffer {
  let copy = Buffer.from(bytes)
  for (let changes = 1 + random(3); changes > 0; changes--) {
    const offset = random(Math.min(span, copy.length))
    const kind = random(6)
    if (kind === 0) copy = copy.subarray(0, offset + 1)
    else if (kind === 1) copy = Buffer.concat([copy, Buffer.alloc(1 + random(64), random(256))])
    else if (kind === 2) copy.fill(0xff, offset, Math.min(offset + 4, copy.length))
    else if (kind === 3) copy[offset] = 0
    else copy[offset] = (copy[offset] ?? 0) ^ (1 << random(8))
  }
  return copy
}

/** The database of a hot pair after playback of our records, by the steps that `readJournalHeader` documents. */
export function rolledBack(pair: Pair): Buffer {
  const readAt = readAtOf(pair.side)
  const ownPageSize = parseDatabaseHeader(pair.database)?.pageSize
  const header = readJournalHeader(readAt, pair.side.length, ownPageSize)
  if (header === undefined) return pair.database
  const size = header.initialPageCount * header.pageSize
  const { length } = pair.database
  let database = Buffer.alloc(size < length || size >= length + header.pageSize ? size : length)
  pair.database.copy(database)
  for (const { pgno, data } of journalRecords(readAt, pair.side.length, ownPageSize)) {
    const end = pgno * header.pageSize
    if (database.length < end) database = Buffer.concat([database, Buffer.alloc(end - database.length)])
    database.set(data, end - header.pageSize)
  }
  return database
}

/** What SQLite makes of the same pair; content that it then cannot read (mutated pairs) does not matter. */
export function rolledBackBySqlite(file: string, pair: Pair): Buffer {
  writePair(file, '-journal', pair)
  const db = new Database(file)
  try {
    db.prepare('SELECT count(*) FROM sqlite_schema').get()
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error
  }
  db.close()
  return readFileSync(file)
}

export function headerOf(wal: Uint8Array): WalHeader {
  const header = parseWalHeader(wal)
  if (header === undefined) throw new Error('Cannot use the log: its header is not valid')
  return header
}

export function transactionsOf(wal: Uint8Array): WalTransaction[] {
  const header = headerOf(wal)
  return [...walTransactions(header, firstCursor(header), readAtOf(wal))]
}

/** What the database file becomes when our transactions are written into it, as a checkpoint would. */
export function checkpointed(pair: Pair): Buffer {
  let database = Buffer.from(pair.database)
  if (parseWalHeader(pair.side) === undefined) return database
  const { pageSize } = headerOf(pair.side)
  for (const transaction of transactionsOf(pair.side)) {
    const size = transaction.commit * pageSize
    const next = Buffer.alloc(size)
    database.copy(next)
    for (const { pgno, offset } of lastFrames(transaction)) {
      pair.side.copy(next, (pgno - 1) * pageSize, offset, offset + pageSize)
    }
    database = next
  }
  return database
}

/** What SQLite makes of the same pair. */
export function checkpointedBySqlite(file: string, pair: Pair): Buffer {
  writePair(file, '-wal', pair)
  const db = new Database(file)
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.close()
  return readFileSync(file)
}
