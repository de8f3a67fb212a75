import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import {
  JOURNAL_HEADER_SIZE,
  journalRecords,
  parseJournalHeader,
  RECORDS_TO_END,
  readJournalHeader,
  superJournalName,
} from '../../src/sqlite/journal.js'
import { type Pair, readAtOf, readPair, rolledBack, rolledBackBySqlite, scratchDirectory } from './bytes.js'

interface Setup {
  pageSize: number
  synchronous: 'OFF' | 'NORMAL' | 'FULL'
  journalMode: 'DELETE' | 'TRUNCATE' | 'PERSIST'
}

/** A database with content and a connection whose cache is so small that a large transaction reaches the file before its end. */
function openDatabase(file: string, setup: Setup): Database.Database {
  const db = new Database(file)
  db.pragma(`page_size = ${setup.pageSize}`)
  db.pragma('auto_vacuum = INCREMENTAL')
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t (v) SELECT randomblob(i * ${Math.min(setup.pageSize, 4096) / 64}) FROM n`)
  db.pragma(`journal_mode = ${setup.journalMode}`)
  db.pragma(`synchronous = ${setup.synchronous}`)
  db.pragma('cache_size = 5')
  return db
}

function segments(journal: Buffer): number {
  const magic = journal.subarray(0, 8)
  let count = 0
  for (let offset = 0; offset < journal.length; offset += 512) {
    if (journal.compare(magic, 0, 8, offset, offset + 8) === 0) count++
  }
  return count
}

const CHANGES = {
  update: 'UPDATE t SET v = randomblob(length(v))',
  grow: 'UPDATE t SET v = randomblob(3 * length(v) + 100)',
  shrink: 'DELETE FROM t WHERE id % 2; PRAGMA incremental_vacuum; UPDATE t SET v = randomblob(length(v))',
  vacuum: 'DELETE FROM t WHERE id > 20',
}

t.test('rolling back a hot journal gives the bytes that SQLite gets, and those from before', async (t) => {
  const directory = scratchDirectory(t)
  for (const pageSize of [512, 1024, 4096, 65536]) {
    for (const synchronous of ['OFF', 'NORMAL', 'FULL'] as const) {
      for (const [name, sql] of Object.entries(CHANGES)) {
        if (synchronous === 'FULL' && name !== 'update') continue
        const label = `${pageSize} ${synchronous} ${name}`
        const file = path.join(directory, 'hot.db')
        rmSync(file, { force: true })
        const db = openDatabase(file, { pageSize, synchronous, journalMode: 'DELETE' })
        const before = readFileSync(file)
        db.exec(`BEGIN; ${sql}`)
        const pair = readPair(file, '-journal')
        db.exec('ROLLBACK')
        db.close()

        const header = parseJournalHeader(pair.side)
        t.notOk(pair.database.equals(before), `${label}: the transaction had reached the file`)
        t.match(header, { pageSize, sectorSize: 512, initialPageCount: before.length / pageSize }, label)
        t.equal(header?.recordCount === RECORDS_TO_END, synchronous === 'OFF', `${label}: record count`)
        if (synchronous !== 'OFF' && name === 'update') t.ok(segments(pair.side) > 1, `${label}: several segments`)
        t.ok(rolledBack(pair).equals(before), `${label}: as before`)
        t.ok(rolledBackBySqlite(path.join(directory, 'copy.db'), pair).equals(before), `${label}: SQLite agrees`)
      }
    }
  }
})

t.test('a record for no page, the lock page or a page past the end stops or skips as in SQLite', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'hot.db')
  const db = openDatabase(file, { pageSize: 1024, synchronous: 'OFF', journalMode: 'DELETE' })
  db.exec(`BEGIN; ${CHANGES.update}`)
  const pair = readPair(file, '-journal')
  db.close()
  const whole = rolledBack(pair)
  const thirdRecord = 512 + 2 * (1024 + 8)
  for (const pgno of [0, 0x40000000 / 1024 + 1, 0x40000000 / 1024, whole.length / 1024 + 1]) {
    const side = Buffer.from(pair.side)
    side.writeUInt32BE(pgno, thirdRecord)
    if (pgno * 1024 > whole.length) side[thirdRecord + 4 + 1024 - 200] = Number(side[thirdRecord + 4 + 1024 - 200]) ^ 1
    const ours = rolledBack({ ...pair, side })
    t.notOk(ours.equals(whole), `${pgno}`)
    t.ok(ours.equals(rolledBackBySqlite(path.join(directory, 'copy.db'), { ...pair, side })), `${pgno}: SQLite agrees`)
  }
})

t.test('the first transaction of a database rolls back to nothing', async (t) => {
  const directory = scratchDirectory(t)
  const file = path.join(directory, 'new.db')
  const db = new Database(file)
  db.pragma('cache_size = 5')
  db.exec('BEGIN; CREATE TABLE t (v)')
  for (let i = 0; i < 100; i++) db.exec('INSERT INTO t VALUES (randomblob(1000))')
  const pair = readPair(file, '-journal')
  db.close()
  t.ok(pair.database.length > 0)
  t.equal(parseJournalHeader(pair.side)?.initialPageCount, 0)
  t.equal(rolledBack(pair).length, 0)
  t.equal(rolledBackBySqlite(path.join(directory, 'copy.db'), pair).length, 0)
})

t.test('a journal that was not synced, or ended with its transaction, rolls nothing back', async (t) => {
  const directory = scratchDirectory(t)
  for (const journalMode of ['TRUNCATE', 'PERSIST'] as const) {
    const file = path.join(directory, `${journalMode}.db`)
    const db = openDatabase(file, { pageSize: 1024, synchronous: 'FULL', journalMode })
    db.pragma('cache_size = 1000')
    db.exec('BEGIN; UPDATE t SET v = randomblob(10) WHERE id < 50')
    const open = readPair(file, '-journal')
    t.equal(readJournalHeader(readAtOf(open.side), open.side.length), undefined, 'not synced')
    t.same(parseJournalHeader(Buffer.concat([Buffer.of(0xd9), open.side.subarray(1)])), undefined)
    db.exec('COMMIT')
    const ended = readPair(file, '-journal')
    t.equal(ended.side.length > 1024, journalMode === 'PERSIST')
    if (journalMode === 'PERSIST') t.ok(ended.side.subarray(0, JOURNAL_HEADER_SIZE).every((byte) => byte === 0))
    t.same([...journalRecords(readAtOf(ended.side), ended.side.length)], [])
    db.close()
  }
})

t.test('what an earlier transaction left in a persistent journal is not played back', async (t) => {
  const directory = scratchDirectory(t)
  for (const synchronous of ['NORMAL', 'FULL'] as const) {
    const file = path.join(directory, `${synchronous}.db`)
    const db = openDatabase(file, { pageSize: 512, synchronous, journalMode: 'PERSIST' })
    db.exec(CHANGES.update)
    const before = readFileSync(file)
    db.exec('BEGIN; UPDATE t SET v = randomblob(length(v)) WHERE id > 200')
    const pair = readPair(file, '-journal')
    db.close()
    t.ok(segments(pair.side) > 2, 'old segments follow')
    t.ok(rolledBack(pair).equals(before))
    t.ok(rolledBackBySqlite(path.join(directory, 'copy.db'), pair).equals(before))
  }
})

t.test('journals of the sqlite3 shell with sectors of 4096 bytes', async (t) => {
  const directory = scratchDirectory(t)
  for (const pageSize of [512, 4096, 65536]) {
    const file = path.join(directory, `${pageSize}.db`)
    const hot = path.join(directory, 'hot.db')
    const script = `
      PRAGMA page_size = ${pageSize}; PRAGMA synchronous = FULL; CREATE TABLE t (v);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
        INSERT INTO t SELECT randomblob(i * 5) FROM n;
      .system cp ${file} ${file}-before
      PRAGMA cache_size = 5;
      BEGIN; UPDATE t SET v = randomblob(1500);
      .system cp ${file} ${hot}; cp ${file}-journal ${hot}-journal
      ROLLBACK;\n`
    const shell = spawnSync('sqlite3', [`file:${file}?psow=0`], {
      input: script.replace(/^ +/gm, ''),
      encoding: 'utf8',
    })
    if (shell.error !== undefined) {
      t.comment('no sqlite3 shell: sectors of 4096 bytes not tested')
      return
    }
    t.equal(shell.stderr, '')
    const before = readFileSync(`${file}-before`)
    const pair = readPair(hot, '-journal')
    t.equal(parseJournalHeader(pair.side)?.sectorSize, 4096)
    t.ok(segments(pair.side) > 1)
    t.ok(rolledBack(pair).equals(before), `${pageSize}: as before`)
    t.equal(spawnSync('sqlite3', [hot, 'SELECT count(*) FROM t']).stdout.toString(), '500\n')
    t.ok(readFileSync(hot).equals(before), `${pageSize}: the shell agrees`)
  }
})

/**
 * Leaves a transaction over two databases half committed: a limit on file sizes kills the shell while it writes the second database, when
 * the first one is written and its journal names the super-journal. (Databases with synchronous=OFF alone get no super-journal.)
 */
function interruptedCommit(
  directory: string,
  synchronous: string,
): { pair: Pair; before: Buffer; superJournal: string } {
  const main = path.join(directory, `first-${synchronous}.db`)
  const second = path.join(directory, `second-${synchronous}.db`)
  const third = path.join(directory, `third-${synchronous}.db`)
  for (const file of [main, second, third]) {
    const db = new Database(file)
    db.exec('CREATE TABLE t (v); INSERT INTO t VALUES (1)')
    db.close()
  }
  const before = readFileSync(main)
  const script = `
    ATTACH '${second}' AS second;
    ATTACH '${third}' AS third;
    PRAGMA main.synchronous = ${synchronous};
    BEGIN;
    UPDATE main.t SET v = 2;
    INSERT INTO second.t VALUES (randomblob(1000000));
    UPDATE third.t SET v = 2;
    COMMIT;\n`
  const shell = spawnSync('sh', ['-c', `ulimit -c 0; ulimit -f 200; exec sqlite3 '${main}'`], { input: script })
  if (shell.signal !== 'SIGXFSZ') throw new Error(`Cannot interrupt the commit: ${shell.stderr}`)
  const name = readdirSync(directory).find((entry) => entry.startsWith(`first-${synchronous}.db-mj`))
  if (name === undefined) throw new Error('Cannot find the super-journal')
  return { pair: readPair(main, '-journal'), before, superJournal: path.join(directory, name) }
}

t.test('a transaction over several databases names its super-journal', async (t) => {
  if (spawnSync('sqlite3', ['-version']).error !== undefined) {
    t.comment('no sqlite3 shell: super-journals not tested')
    return
  }
  const directory = scratchDirectory(t)
  for (const synchronous of ['OFF', 'NORMAL', 'FULL']) {
    const { pair, before, superJournal } = interruptedCommit(directory, synchronous)
    const readAt = readAtOf(pair.side)
    const size = pair.side.length
    t.equal(superJournalName(readAt, size), superJournal, synchronous)
    t.ok(rolledBack(pair).equals(before), `${synchronous}: as before`)

    const copy = path.join(directory, 'copy.db')
    t.ok(
      rolledBackBySqlite(copy, pair).equals(before),
      `${synchronous}: SQLite rolls back while the super-journal exists`,
    )
    rmSync(superJournal, { force: true })
    t.ok(rolledBackBySqlite(copy, pair).equals(pair.database), `${synchronous}: and takes it for committed when not`)
    t.notOk(existsSync(`${copy}-journal`))

    const cut = pair.side.subarray(0, size - 1)
    t.equal(superJournalName(readAtOf(cut), cut.length), undefined, 'no magic at the end')
    const renamed = Buffer.from(pair.side)
    renamed[size - 17] = Number(renamed[size - 17]) ^ 1
    t.equal(superJournalName(readAtOf(renamed), size), undefined, 'wrong checksum')
    t.equal(superJournalName(readAtOf(renamed.subarray(0, 15)), 15), undefined)
  }
})

t.test('a name past ASCII, as x86 and ARM sum it up', async (t) => {
  const magic = Buffer.from('d9d505f920a163d7', 'hex')
  const name = Buffer.from('/données.db-mj0', 'utf8')
  const trailer = (sum: number) => {
    const numbers = Buffer.alloc(8)
    numbers.writeUInt32BE(name.length)
    numbers.writeUInt32BE(sum >>> 0, 4)
    return Buffer.concat([Buffer.alloc(600), name, numbers, magic])
  }
  const unsigned = name.reduce((sum, byte) => sum + byte, 0)
  for (const sum of [unsigned, unsigned - 2 * 256]) {
    t.equal(superJournalName(readAtOf(trailer(sum)), trailer(sum).length), '/données.db-mj0')
  }
  t.equal(superJournalName(readAtOf(trailer(unsigned - 256)), trailer(0).length), undefined)
})
