import { readFileSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { encodeWalIndexCopy, parseWalIndexHeader, publishWalIndexCopy } from '../../src/sqlite/wal-index.js'
import { WAL_INDEX_BLOCK_SIZE, WalIndexTable, walIndexSize } from '../../src/sqlite/wal-index-table.js'
import { headerOf, readPair, scratchDirectory, transactionsOf } from './bytes.js'

/** The two copies of the header. */
const COPIES_SIZE = 96
const HEADER_SIZE = 136

interface Made {
  /** The wal-index as SQLite's writer left it. */
  shm: Buffer
  /** The log beside it. */
  wal: Buffer
}

/** A log of several blocks of frames, with transactions that were rolled back after they had spilled into it. */
function madeBySqlite(directory: string, pageSize: number, rows: number): Made {
  const file = path.join(directory, `${pageSize}-${rows}.db`)
  const db = new Database(file)
  for (const pragma of [
    `page_size = ${pageSize}`,
    'journal_mode = WAL',
    'wal_autocheckpoint = 0',
    'synchronous = OFF',
  ]) {
    db.pragma(pragma)
  }
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
  db.pragma('cache_size = 5')
  for (let i = 0; i < rows; i++) {
    const begin = i % 7 === 3 ? 'BEGIN; UPDATE t SET v = randomblob(300); ROLLBACK;' : ''
    db.exec(`${begin} INSERT INTO t (v) SELECT randomblob(200) FROM (SELECT 1 UNION SELECT ${i}), t LIMIT ${i + 1}`)
    db.exec(`INSERT INTO t (v) VALUES (randomblob(${i}))`)
  }
  const made = { shm: readFileSync(`${file}-shm`), wal: readPair(file, '-wal').side }
  db.close()
  return made
}

t.test('the wal-index of a log is, byte for byte, the one that SQLite makes of it', async (t) => {
  const directory = scratchDirectory(t)
  for (const [pageSize, rows] of [
    [512, 220],
    [1024, 20],
    [65536, 6],
  ] as const) {
    const { shm, wal } = madeBySqlite(directory, pageSize, rows)
    const transactions = transactionsOf(wal)
    const pgnos = transactions.flatMap((transaction) => [...transaction.pgnos])
    const last = transactions.at(-1)
    const header = headerOf(wal)
    const ours = new ArrayBuffer(walIndexSize(pgnos.length))
    const table = new WalIndexTable(ours)
    pgnos.forEach((pgno, i) => {
      table.append(i + 1, pgno, i)
    })
    const { changeCounter } = parseWalIndexHeader(shm)
    const end = { mxFrame: pgnos.length, nPage: last?.commit ?? 0, s1: last?.end.s1 ?? 0, s2: last?.end.s2 ?? 0 }
    publishWalIndexCopy(new Uint32Array(ours), encodeWalIndexCopy({ ...header, ...end, changeCounter }))

    const bytes = Buffer.from(ours)
    t.comment(`${pageSize}: ${pgnos.length} frames, ${bytes.length / WAL_INDEX_BLOCK_SIZE} blocks`)
    t.ok(bytes.subarray(0, COPIES_SIZE).equals(shm.subarray(0, COPIES_SIZE)), 'both copies of the header')
    t.ok(bytes.subarray(HEADER_SIZE).equals(shm.subarray(HEADER_SIZE, bytes.length)), 'hash tables')
    const wanted = new Map(pgnos.map((pgno, i) => [pgno, i + 1]))
    t.ok([...wanted].every(([pgno, frame]) => table.find(pgno, pgnos.length) === frame))
    t.equal(table.find(1 << 30, pgnos.length), 0)
  }
})

t.test('what a writer that died has left in the tables is removed, wherever it stopped', async (t) => {
  for (const [mxFrame, died] of [
    [0, 5],
    [10, 200],
    [4060, 4100],
    [4062, 4070],
    [4070, 4100],
    [8158, 8300],
  ] as const) {
    const size = walIndexSize(9000)
    const [clean, dirty] = [new ArrayBuffer(size), new ArrayBuffer(size)]
    const [expected, table] = [new WalIndexTable(clean), new WalIndexTable(dirty)]
    for (let frame = 1; frame <= died; frame++) table.append(frame, 7 * frame, Math.min(frame - 1, mxFrame))
    for (let frame = mxFrame + 1; frame <= 8400; frame++) table.append(frame, 1 + (frame % 50), mxFrame)
    for (let frame = 1; frame <= mxFrame; frame++) expected.append(frame, 7 * frame, frame - 1)
    for (let frame = mxFrame + 1; frame <= 8400; frame++) expected.append(frame, 1 + (frame % 50), frame - 1)
    t.ok(Buffer.from(clean).equals(Buffer.from(dirty)), `${mxFrame}, died at ${died}`)
    t.equal(table.find(7, 4), 1 <= mxFrame ? 1 : 0)
  }
})
