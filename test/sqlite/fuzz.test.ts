import { readFileSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { databasePageCount, parseDatabaseHeader } from '../../src/sqlite/database-header.js'
import { journalRecords, readJournalHeader, superJournalName } from '../../src/sqlite/journal.js'
import { parseWalHeader } from '../../src/sqlite/wal.js'
import { parseWalIndexHeader } from '../../src/sqlite/wal-index.js'
import { firstCursor, lastFrames, transactionAt, walTransactions } from '../../src/sqlite/wal-scan.js'
import {
  checkpointed,
  checkpointedBySqlite,
  mutated,
  type Pair,
  randomNumbers,
  readAtOf,
  readPair,
  rolledBack,
  rolledBackBySqlite,
  scratchDirectory,
} from './bytes.js'

const ROUNDS = 4000
/** Rounds in which SQLite recovers the same mutated file; each costs it some milliseconds. */
const COMPARED_ROUNDS = 400
/** SQLite extends the database to whatever size a damaged journal header names, up to terabytes. */
const MAX_COMPARED_PAGES = 1000

function walPair(directory: string): Pair & { index: Buffer } {
  const file = path.join(directory, 'wal.db')
  const db = new Database(file)
  db.pragma('page_size = 512')
  db.pragma('journal_mode = WAL')
  db.exec('CREATE TABLE t (v)')
  db.pragma('wal_checkpoint(TRUNCATE)')
  for (let i = 0; i < 8; i++) db.prepare('INSERT INTO t VALUES (randomblob(?))').run(i * 150)
  const pair = { ...readPair(file, '-wal'), index: readFileSync(`${file}-shm`) }
  db.close()
  return pair
}

function journalPair(directory: string, synchronous: string): Pair {
  const file = path.join(directory, `${synchronous}.db`)
  const db = new Database(file)
  db.pragma('page_size = 512')
  db.exec('CREATE TABLE t (v); BEGIN')
  for (let i = 0; i < 60; i++) db.prepare('INSERT INTO t VALUES (randomblob(?))').run(i * 10)
  db.exec('COMMIT')
  db.pragma(`synchronous = ${synchronous}`)
  db.pragma('cache_size = 5')
  db.exec('BEGIN; UPDATE t SET v = randomblob(400)')
  const pair = readPair(file, '-journal')
  db.close()
  return pair
}

t.test('a damaged log holds for us what it holds for SQLite', async (t) => {
  const directory = scratchDirectory(t)
  const random = randomNumbers(1)
  const { database, side } = walPair(directory)
  const copy = path.join(directory, 'copy.db')
  const differences: number[] = []
  let shortened = 0
  const whole = checkpointed({ database, side })
  for (let round = 0; round < COMPARED_ROUNDS; round++) {
    const pair = { database, side: mutated(side, random, round % 4 === 0 ? 32 : undefined) }
    const ours = checkpointed(pair)
    if (!ours.equals(checkpointedBySqlite(copy, pair))) differences.push(round)
    if (!ours.equals(whole)) shortened++
  }
  t.same(differences, [])
  t.ok(shortened > COMPARED_ROUNDS / 4, 'the damage did matter')
})

t.test('a damaged journal rolls back for us as for SQLite', async (t) => {
  const directory = scratchDirectory(t)
  const random = randomNumbers(2)
  const copy = path.join(directory, 'copy.db')
  for (const synchronous of ['OFF', 'NORMAL']) {
    const { database, side } = journalPair(directory, synchronous)
    const whole = rolledBack({ database, side })
    const differences: number[] = []
    let changed = 0
    for (let round = 0; round < COMPARED_ROUNDS; round++) {
      const pair = { database, side: mutated(side, random, round % 2 === 0 ? 28 : undefined) }
      if (pair.side.length >= 20 && pair.side.readUInt32BE(16) > MAX_COMPARED_PAGES) continue
      const ours = rolledBack(pair)
      if (!ours.equals(rolledBackBySqlite(copy, pair))) differences.push(round)
      if (!ours.equals(whole)) changed++
    }
    t.same(differences, [], synchronous)
    t.ok(changed > COMPARED_ROUNDS / 4, 'the damage did matter')
  }
})

t.test('damaged bytes end a scan and nothing else', async (t) => {
  const directory = scratchDirectory(t)
  const random = randomNumbers(3)
  const wal = walPair(directory)
  const journal = journalPair(directory, 'NORMAL').side
  for (let round = 0; round < ROUNDS; round++) {
    const log = mutated(wal.side, random)
    const header = parseWalHeader(log) ?? parseWalHeader(wal.side)
    if (header === undefined) throw new Error('Cannot use the log: its header is not valid')
    const readAt = readAtOf(log)
    for (const transaction of walTransactions(header, firstCursor(header), readAt)) {
      if (lastFrames(transaction).length > transaction.pgnos.length) t.fail('more pages than frames')
    }
    transactionAt(header, { offset: random(2 * log.length), s1: random(9), s2: 0 }, random(2 * log.length), readAt)

    const damaged = mutated(journal, random, round % 2 === 0 ? 28 : undefined)
    let records = 0
    for (const { data } of journalRecords(readAtOf(damaged), damaged.length)) records += data.length
    if (records > damaged.length) t.fail('more pages than the journal has bytes')
    superJournalName(readAtOf(damaged), damaged.length)

    const first = parseDatabaseHeader(mutated(wal.database.subarray(0, 100), random))
    if (first !== undefined && !Number.isInteger(databasePageCount(first, random(1 << 30)))) t.fail('page count')
    const index = mutated(wal.index.subarray(0, 136), random, 96)
    const changed = !index.subarray(0, 96).equals(wal.index.subarray(0, 96))
    if (parseWalIndexHeader(index).valid === changed) t.fail(`a changed wal-index header is believed (round ${round})`)
  }
  t.equal(parseWalIndexHeader(new Uint8Array(0)).valid, false)
  t.equal(parseWalIndexHeader(new Uint8Array(136)).valid, false)
})

t.test('noise is nothing', async (t) => {
  const random = randomNumbers(4)
  let found = 0
  for (let round = 0; round < ROUNDS; round++) {
    const noise = Buffer.from(Array.from({ length: random(700) }, () => random(256)))
    found += [
      parseDatabaseHeader(noise),
      parseWalHeader(noise),
      readJournalHeader(readAtOf(noise), noise.length),
      superJournalName(readAtOf(noise), noise.length),
      parseWalIndexHeader(noise).valid || undefined,
    ].filter((value) => value !== undefined).length
  }
  t.equal(found, 0)
})

t.test('counts in a damaged header cost no memory', async (t) => {
  const directory = scratchDirectory(t)
  const { side } = journalPair(directory, 'NORMAL')
  const honest = [...journalRecords(readAtOf(side), side.length)].length
  for (const recordCount of [0xfffffff0, 0xffffffff]) {
    const journal = Buffer.from(side)
    journal.writeUInt32BE(recordCount, 8)
    journal.writeUInt32BE(0xffffffff, 16)
    let largest = 0
    const readAt = (into: Uint8Array, offset: number) => {
      largest = Math.max(largest, into.length)
      return readAtOf(journal)(into, offset)
    }
    const count = [...journalRecords(readAt, journal.length)].length
    t.ok(count <= honest)
    t.ok(largest <= 512 + 8, 'one record at a time')
  }
  const tooLarge = journalRecords(readAtOf(side.subarray(0, 600)), Number.MAX_SAFE_INTEGER)
  t.same([...tooLarge], [], 'nor does a size that the file does not have')
})
