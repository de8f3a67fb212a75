import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import t from 'tap'
import { databasePageCount, isWalMode, parseDatabaseHeader } from '../../src/sqlite/database-header.js'
import {
  chainFrame,
  encodeFrameHeader,
  encodeWalHeader,
  FRAME_HEADER_SIZE,
  parseFrameHeader,
  WAL_HEADER_SIZE,
} from '../../src/sqlite/wal.js'
import { parseWalIndexHeader, READ_MARK_UNUSED } from '../../src/sqlite/wal-index.js'
import {
  firstCursor,
  isPadding,
  lastFrames,
  transactionAt,
  type WalTransaction,
  withPadding,
} from '../../src/sqlite/wal-scan.js'
import {
  checkpointed,
  checkpointedBySqlite,
  headerOf,
  readAtOf,
  readPair,
  scratchDirectory,
  transactionsOf,
  writePair,
} from './bytes.js'

const PAGE_SIZES = [512, 1024, 4096, 8192, 65536]
const fixtures = fileURLToPath(new URL('../../../shared/fixtures/litefs/wal-reader', import.meta.url))

function openWal(file: string, pageSize: number): Database.Database {
  const db = new Database(file)
  db.pragma(`page_size = ${pageSize}`)
  db.pragma('auto_vacuum = INCREMENTAL')
  db.pragma('journal_mode = WAL')
  db.pragma('wal_autocheckpoint = 0')
  return db
}

/** Transactions of every kind; returns how many were committed. */
function work(db: Database.Database): number {
  let commits = 0
  const run = (sql: string) => {
    db.exec(sql)
    commits++
  }
  run('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
  for (let i = 0; i < 10; i++) run(`INSERT INTO t (v) VALUES (randomblob(${100 * i}))`)
  db.pragma('cache_size = 5')
  run(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800)
       INSERT INTO t (v) SELECT randomblob(i) FROM n`)
  run('BEGIN; UPDATE t SET v = randomblob(300); UPDATE t SET v = randomblob(200) WHERE id % 3 = 0; COMMIT')
  db.exec('BEGIN; UPDATE t SET v = randomblob(250); ROLLBACK')
  run('DELETE FROM t WHERE id > 100')
  run('PRAGMA incremental_vacuum')
  run(`BEGIN; INSERT INTO t (v) SELECT randomblob(2000) FROM t; DELETE FROM t WHERE id > 90;
       PRAGMA incremental_vacuum; COMMIT`)
  run('VACUUM')
  run('INSERT INTO t (v) VALUES (1)')
  return commits
}

t.test('a log of every page size becomes the database that SQLite makes of it', async (t) => {
  const directory = scratchDirectory(t)
  for (const pageSize of PAGE_SIZES) {
    const file = path.join(directory, `${pageSize}.db`)
    const db = openWal(file, pageSize)
    const commits = work(db)
    const pair = readPair(file, '-wal')
    const index = parseWalIndexHeader(readFileSync(`${file}-shm`))
    const header = headerOf(pair.side)
    const transactions = transactionsOf(pair.side)
    const frames = transactions.reduce((sum, transaction) => sum + transaction.pgnos.length, 0)
    const last = transactions.at(-1)

    t.equal(header.pageSize, pageSize)
    t.equal(transactions.length, commits, `${pageSize}: one transaction per commit`)
    t.ok(
      transactions.some((transaction) => new Set(transaction.pgnos).size < transaction.pgnos.length) || pageSize > 4096,
      `${pageSize}: a page occurs twice in a transaction`,
    )
    t.ok(
      transactions.some((transaction) => transaction.pgnos.some((pgno) => pgno > transaction.commit)),
      `${pageSize}: a transaction drops a page that it has written`,
    )
    for (const transaction of transactions) {
      const kept = [...new Set(transaction.pgnos)].filter((pgno) => pgno <= transaction.commit)
      const pages = lastFrames(transaction)
      t.same(
        pages.map(({ pgno }) => pgno),
        kept.sort((a, b) => a - b),
      )
      t.ok(pages.every(({ pgno, frame }) => transaction.pgnos.lastIndexOf(pgno) === frame))
    }
    t.equal(last?.commit, db.pragma('page_count', { simple: true }))
    t.ok(checkpointed(pair).equals(checkpointedBySqlite(path.join(directory, 'copy.db'), pair)), `${pageSize}: content`)

    t.match(index, { valid: true, bigEndian: header.bigEndian, pageSize, mxFrame: frames, nPage: last?.commit })
    t.match(index, { salt1: header.salt1, salt2: header.salt2, s1: last?.end.s1, s2: last?.end.s2, nBackfill: 0 })
    t.same(index.readMarks.slice(2), [READ_MARK_UNUSED, READ_MARK_UNUSED, READ_MARK_UNUSED])

    db.pragma('wal_checkpoint(PASSIVE)')
    t.equal(parseWalIndexHeader(readFileSync(`${file}-shm`)).nBackfill, frames, `${pageSize}: backfill`)
    db.close()
  }
})

t.test('frames of an earlier generation do not count after a restart', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'restart.db')
  const db = openWal(file, 1024)
  work(db)
  const before = headerOf(readPair(file, '-wal').side)
  db.pragma('wal_checkpoint(RESTART)')
  db.exec('INSERT INTO t (v) VALUES (2)')
  db.exec('INSERT INTO t (v) VALUES (3)')
  const pair = readPair(file, '-wal')
  const after = headerOf(pair.side)
  const transactions = transactionsOf(pair.side)
  t.equal(transactions.length, 2)
  t.not(after.salt1, before.salt1)
  t.ok(pair.side.length > Number(transactions.at(-1)?.end.offset) + 1024, 'old frames are still there')
  t.ok(checkpointed(pair).equals(checkpointedBySqlite(path.join(directory, 'copy.db'), pair)))
  db.pragma('wal_checkpoint(TRUNCATE)')
  t.equal(parseWalIndexHeader(readFileSync(`${file}-shm`)).mxFrame, 0)
  t.equal(parseWalIndexHeader(readFileSync(`${file}-shm`)).valid, true)
  db.close()
})

t.test('a log cut anywhere in its last two transactions has as many transactions as SQLite sees rows', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'chopped.db')
  const db = openWal(file, 512)
  db.exec('CREATE TABLE t (v)')
  db.pragma('wal_checkpoint(TRUNCATE)')
  for (let i = 0; i < 6; i++) db.prepare('INSERT INTO t VALUES (randomblob(10))').run()
  const pair = readPair(file, '-wal')
  db.close()
  const start = Number(transactionsOf(pair.side).at(-2)?.start)
  t.equal(transactionsOf(pair.side).length, 6)

  const differences: number[] = []
  const copy = path.join(directory, 'copy.db')
  for (let size = start; size <= pair.side.length; size++) {
    const side = pair.side.subarray(0, size)
    writePair(copy, '-wal', { database: pair.database, side })
    const reader = new Database(copy, { readonly: true })
    const rows = reader.prepare('SELECT count(*) FROM t').pluck().get()
    reader.close()
    if (rows !== transactionsOf(side).length) differences.push(size)
  }
  t.same(differences, [])
})

t.test('one transaction on the commit path, its last bytes not yet in the file', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'commit.db')
  const db = openWal(file, 512)
  work(db)
  const wal = readPair(file, '-wal').side
  db.close()
  const header = headerOf(wal)
  const scratch = new Uint8Array(3 * (512 + 24) + 100).subarray(7)
  let cursor = firstCursor(header)
  for (const expected of transactionsOf(wal)) {
    const end = expected.end.offset
    let furthest = 0
    const readAt = (into: Uint8Array, offset: number) => {
      furthest = Math.max(furthest, offset + into.length)
      return readAtOf(wal.subarray(0, end))(into, offset)
    }
    t.same(transactionAt(header, cursor, end, readAt), expected)
    t.same(transactionAt(header, cursor, end, readAt, scratch), expected)
    t.equal(furthest, end, 'nothing past the end was asked for')
    t.equal(transactionAt(header, cursor, end - 1, readAt), undefined, 'a byte is missing')
    t.equal(transactionAt(header, cursor, end, readAtOf(wal.subarray(0, end - 1))), undefined, 'the file is short')
    cursor = expected.end
  }
  t.equal(transactionAt(header, cursor, wal.length, readAtOf(wal)), undefined)
})

t.test('a log that we write, in either byte order, is read by SQLite', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'written.db')
  const db = openWal(file, 1024)
  const commits = work(db)
  const pair = readPair(file, '-wal')
  db.close()
  for (const bigEndian of [true, false]) {
    const side = rewritten(pair.side, bigEndian, -1)
    t.equal(transactionsOf(side).length, commits)
    const ours = checkpointed({ ...pair, side })
    t.ok(ours.equals(checkpointed(pair)), 'same content as the original log')
    t.ok(ours.equals(checkpointedBySqlite(path.join(directory, 'copy.db'), { ...pair, side })))
  }

  const zeroAt = Number(transactionsOf(pair.side).at(-2)?.pgnos.length) * -1 - 1
  const side = rewritten(pair.side, false, zeroAt)
  t.ok(transactionsOf(side).length < commits, 'a frame for page 0 ends the log')
  const bySqlite = checkpointedBySqlite(path.join(directory, 'copy.db'), { ...pair, side })
  t.ok(checkpointed({ ...pair, side }).equals(bySqlite))
})

/** The same frames under another header; the frame at `zeroAt` (counted from the end when negative, -1 for none) gets page number 0. */
function rewritten(wal: Buffer, bigEndian: boolean, zeroAt: number): Buffer {
  const old = headerOf(wal)
  const frameSize = FRAME_HEADER_SIZE + old.pageSize
  const count = (wal.length - WAL_HEADER_SIZE) / frameSize
  const copy = Buffer.from(wal)
  copy.set(encodeWalHeader({ bigEndian, pageSize: old.pageSize, sequence: 7, salt1: 0xfffffffe, salt2: 3 }))
  const header = headerOf(copy)
  const state = Uint32Array.of(header.s1, header.s2)
  for (let frame = 0; frame < count; frame++) {
    const offset = WAL_HEADER_SIZE + frame * frameSize
    const { pgno, commit } = parseFrameHeader(copy, offset)
    const fields = { pgno: zeroAt < -1 && frame === count + zeroAt ? 0 : pgno, commit, salt1: 0xfffffffe, salt2: 3 }
    encodeFrameHeader(copy, offset, { ...fields, s1: 0, s2: 0 })
    chainFrame(state, header, copy, offset)
    encodeFrameHeader(copy, offset, { ...fields, s1: Number(state[0]), s2: Number(state[1]) })
  }
  return copy
}

t.test('padding to the sector belongs to the transaction before it', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'padded.db')
  const script = [
    '.dbconfig no_ckpt_on_close on',
    'PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;',
    'CREATE TABLE t (v);',
    ...Array.from({ length: 5 }, (_, i) => `INSERT INTO t VALUES (randomblob(${i * 400}));`),
  ]
  const shell = spawnSync('sqlite3', [`file:${file}?psow=0`], { input: `${script.join('\n')}\n`, encoding: 'utf8' })
  if (shell.error !== undefined) {
    t.comment('no sqlite3 shell: padding not tested')
    return
  }
  t.equal(shell.stderr, '')
  const pair = readPair(file, '-wal')
  const header = headerOf(pair.side)
  const merged: WalTransaction[] = []
  for (const transaction of transactionsOf(pair.side)) {
    const previous = merged.at(-1)
    if (previous !== undefined && isPadding(header, previous, transaction, readAtOf(pair.side))) {
      merged[merged.length - 1] = withPadding(previous, transaction)
    } else merged.push(transaction)
  }
  t.equal(merged.length, 6)
  t.ok(transactionsOf(pair.side).length > 6, 'the shell did pad')
  for (const { end } of merged) t.ok(end.offset % 4096 < 536, 'a padded transaction ends just past a sector boundary')
  for (const { pgnos } of merged) t.equal(pgnos.at(-1), pgnos.at(-2))
  t.ok(checkpointed(pair).equals(checkpointedBySqlite(path.join(directory, 'copy.db'), pair)))
})

t.test("LiteFS' own logs", async (t) => {
  if (!existsSync(fixtures)) {
    t.comment(`no fixtures at ${fixtures}`)
    return
  }
  const read = (name: string) => readFileSync(path.join(fixtures, name, 'wal'))
  t.same(
    transactionsOf(read('ok')).map(({ commit, pgnos }) => ({ commit, pgnos: [...pgnos] })),
    [
      { commit: 2, pgnos: [1, 2] },
      { commit: 2, pgnos: [2] },
    ],
  )
  t.same(transactionsOf(read('salt-mismatch')), [], 'the second frame has other salts')
  t.same(transactionsOf(read('frame-checksum-mismatch')), [], 'the second frame has a wrong checksum')
})

t.test('database header', async (t) => {
  const directory = scratchDirectory(t)
  for (const pageSize of PAGE_SIZES) {
    const file = path.join(directory, `${pageSize}.db`)
    const db = new Database(file)
    db.pragma(`page_size = ${pageSize}`)
    db.exec('CREATE TABLE t (v); INSERT INTO t VALUES (randomblob(10000)); CREATE TABLE u (v)')
    const bytes = readFileSync(file)
    const header = parseDatabaseHeader(bytes)
    if (header === undefined) throw new Error('Cannot read a header that SQLite wrote')
    t.match(header, { pageSize, writeVersion: 1, readVersion: 1, reservedSize: 0, changeCounter: 3 })
    t.equal(header.schemaCookie, db.pragma('schema_version', { simple: true }))
    t.equal(databasePageCount(header, 0), db.pragma('page_count', { simple: true }))
    t.equal(databasePageCount({ ...header, versionValidFor: 2 }, bytes.length), bytes.length / pageSize)
    t.equal(databasePageCount({ ...header, pageCount: 0 }, bytes.length - 1), bytes.length / pageSize)
    t.equal(isWalMode(header), false)
    db.pragma('journal_mode = WAL')
    const inWal = parseDatabaseHeader(readFileSync(file))
    t.equal(inWal !== undefined && isWalMode(inWal), true)
    db.close()

    const changed = (offset: number, ...values: number[]) => {
      const copy = bytes.subarray(0, 100)
      const edited = Buffer.from(copy)
      edited.set(values, offset)
      return parseDatabaseHeader(edited)
    }
    t.equal(parseDatabaseHeader(bytes.subarray(0, 99)), undefined)
    t.equal(changed(0, 0x73), undefined)
    t.equal(changed(16, 0, 0), undefined)
    t.equal(changed(16, 1, 0), undefined)
    t.equal(changed(16, 0x10, 1), undefined)
    t.equal(changed(16, 0, 1)?.pageSize, 65536)
    t.equal(changed(16, 2, 0)?.pageSize, 512)
    t.equal(changed(20, 33) === undefined, pageSize === 512, 'less than 480 usable bytes')
  }
})
