import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { ReplicaDatabase } from '../../src/apply/replica-database.js'
import { ACCOUNTS, Primary } from './primary.js'
import { connect, startReader } from './readers.js'

const SUM = 'SELECT sum(balance) FROM account'

interface Pair {
  primary: Primary
  replica: ReplicaDatabase
  file: string
}

function makePair(t: Test, pragmas: string[], busyTimeoutMs = 20_000): Pair {
  const dir = mkdtempSync(path.join(tmpdir(), 'litefs-apply-'))
  const primary = new Primary(path.join(dir, 'primary.db'), ['synchronous = OFF', ...pragmas])
  const file = path.join(dir, 'replica.db')
  const options = { sync: false, busyTimeoutMs, signal: new AbortController().signal }
  const replica = new ReplicaDatabase(file, options, (error) => t.fail(error.message))
  t.teardown(async () => {
    await replica.close()
    primary.db.close()
    rmSync(dir, { recursive: true })
  })
  return { primary, replica, file }
}

/** Opens the replica as anybody would once it is let go. */
async function judge(t: Test, { primary, replica, file }: Pair): Promise<void> {
  await replica.close()
  const db = new Database(file)
  t.equal(db.pragma('integrity_check', { simple: true }), 'ok')
  t.ok(db.serialize().equals(primary.db.serialize()), 'the same content')
  db.close()
}

for (const mode of ['WAL', 'DELETE'] as const) {
  t.test(`readers see every transaction whole, ${mode}`, async (t) => {
    const pair = makePair(t, [`journal_mode = ${mode}`, 'wal_autocheckpoint = 0'])
    const { primary, replica, file } = pair
    await replica.apply({ bytes: primary.createAccounts() })
    const readers = [await startReader(t, file, mode === 'WAL' ? 1500 : 5), await startReader(t, file, 0)]

    const files = Array.from({ length: mode === 'WAL' ? 3000 : 500 }, () => primary.move())
    for (const bytes of files) await replica.apply({ bytes })
    for (const reader of readers) {
      const seen = await reader.end()
      t.strictSame(seen.problems, [])
      t.equal(seen.last, files.length)
      t.comment(JSON.stringify(seen))
    }
    await judge(t, pair)
    t.notOk(existsSync(`${file}-wal`), 'nothing is left behind')
  })
}

t.test('a reader that holds its snapshot delays nothing, and the log is used again once it is gone', async (t) => {
  const pair = makePair(t, ['journal_mode = WAL', 'wal_autocheckpoint = 0'])
  const { primary, replica, file } = pair
  await replica.apply({ bytes: primary.createAccounts() })
  await replica.apply({ bytes: primary.move() })
  const holder = connect(t, file)
  const last = () => holder.value('SELECT max(seq) FROM move')
  await holder.rows('BEGIN')
  t.equal(await last(), 1)
  for (let i = 0; i < 600; i++) await replica.apply({ bytes: primary.move() })
  t.equal(await last(), 1, 'the snapshot stays')
  const grown = statSync(`${file}-wal`).size
  await holder.rows('COMMIT')
  t.equal(await last(), 601)
  for (let i = 0; i < 1200; i++) await replica.apply({ bytes: primary.move() })
  t.ok(statSync(`${file}-wal`).size < 2 * grown, 'the log was begun again')
  t.equal(await last(), 1801)
  await holder.close()
  await judge(t, pair)
})

t.test('an open connection follows through VACUUM, other sizes, journal modes and snapshots', async (t) => {
  const pair = makePair(t, ['auto_vacuum = INCREMENTAL', 'journal_mode = DELETE'])
  const { primary, replica, file } = pair
  const { db } = primary
  await replica.apply({ bytes: primary.createAccounts() })
  const reader = connect(t, file)
  const agree = async (message: string) => {
    t.equal(await reader.value('PRAGMA integrity_check'), 'ok', message)
    t.ok((await reader.content()).equals(db.serialize()), message)
  }
  const follow = async (message: string, sql: string) => {
    db.exec(sql)
    await replica.apply({ bytes: primary.capture() })
    await agree(message)
  }
  const grow =
    'WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO move SELECT NULL, i FROM n'
  await agree('the first transaction')
  await follow('growth', grow)
  await follow('new table', 'CREATE TABLE more AS SELECT * FROM move')
  await follow('pages are cut off', 'DELETE FROM move WHERE seq % 2; DROP TABLE more; PRAGMA incremental_vacuum')
  await follow('another page size', 'PRAGMA page_size = 1024; VACUUM')
  await follow('to WAL', 'PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0')
  t.equal(await reader.value('PRAGMA journal_mode'), 'wal')
  await follow('growth in WAL', grow)
  await follow('cut off in WAL', 'DELETE FROM move; PRAGMA incremental_vacuum')
  await follow('VACUUM in WAL', `${grow}; DELETE FROM move WHERE seq % 3; VACUUM`)
  const late = connect(t, file)
  await follow('back to a journal, which the reader stands in the way of', 'PRAGMA journal_mode = DELETE')
  t.equal(await late.value('PRAGMA integrity_check'), 'ok')
  await follow('a transaction after that', 'UPDATE account SET balance = balance + 1')
  t.equal(await late.value('SELECT max(balance) FROM account'), 1001)
  db.exec('PRAGMA page_size = 4096; VACUUM')
  const resized = replica.apply({ bytes: primary.capture() })
  await Promise.all([late.close(), reader.close()])
  await resized
  t.notOk(existsSync(`${file}-wal`), 'nobody is in the way of the journal any more')
  const second = connect(t, file)
  t.equal(await second.value('PRAGMA journal_mode'), 'delete')
  t.equal(await second.value('SELECT max(balance) FROM account'), 1001)
  db.exec('UPDATE account SET balance = 7')
  await replica.apply({ bytes: primary.snapshot() })
  t.ok((await second.content()).equals(db.serialize()), 'a snapshot')
  await second.close()
  await judge(t, pair)
})

/** A database whose reader has cached what another one's snapshot, with the same change counter, is to replace. */
async function makeFork(t: Test): Promise<{ pair: Pair; reader: ReturnType<typeof connect>; other: Primary }> {
  const pair = makePair(t, ['journal_mode = DELETE'])
  const { primary, replica, file } = pair
  await replica.apply({ bytes: primary.createAccounts() })
  const fork = path.join(path.dirname(file), 'fork.db')
  writeFileSync(fork, readFileSync(file))
  await replica.apply({ bytes: primary.run(() => primary.db.exec('UPDATE account SET balance = 1005')) })
  const reader = connect(t, file)
  t.equal(await reader.value(SUM), 1005 * ACCOUNTS)
  const other = new Primary(fork, [])
  t.teardown(() => other.db.close())
  other.db.exec('UPDATE account SET balance = 995')
  const version = (content: Buffer) => content.subarray(24, 40)
  t.ok(version(other.db.serialize()).equals(version(primary.db.serialize())), 'the change counters are the same')
  return { pair: { ...pair, primary: other }, reader, other }
}

/** As `makeFork`, with the other one's snapshot applied twice. */
async function makeReplaced(t: Test): ReturnType<typeof makeFork> {
  const fork = await makeFork(t)
  const bytes = fork.other.snapshot()
  await fork.pair.replica.apply({ bytes })
  await fork.pair.replica.apply({ bytes })
  return fork
}

t.test('a snapshot that readers could not tell from what they have cached', async (t) => {
  const { pair, reader, other } = await makeFork(t)
  const { replica } = pair
  await replica.apply({ bytes: other.snapshot() })
  t.equal(await reader.value(SUM), 995 * ACCOUNTS)
  other.db.exec('UPDATE account SET balance = 990')
  await replica.apply({ bytes: other.capture() })
  t.equal(await reader.value(SUM), 990 * ACCOUNTS)
  await reader.close()
  await judge(t, pair)
})

t.test('a log that idle readers would not notice to have been is not ended', async (t) => {
  const { pair, reader, other } = await makeReplaced(t)
  const { replica, file } = pair
  const copied = Date.now() + 20_000
  while (!readFileSync(file).equals(other.db.serialize())) {
    if (Date.now() > copied) throw new Error('the log is not looked after')
    await delay(20)
  }
  t.equal(await reader.value(SUM), 995 * ACCOUNTS, 'the reader has forgotten what it had')

  other.db.exec('UPDATE account SET balance = 990')
  await replica.apply({ bytes: other.capture() })
  await reader.close()
  while (existsSync(`${file}-wal`)) {
    if (Date.now() > copied) throw new Error('a log that everybody will notice is not ended')
    await delay(20)
  }
  await judge(t, pair)
})

t.test('nor when the database is let go, for its node to become the primary', async (t) => {
  const { pair, reader } = await makeReplaced(t)
  const { replica, file } = pair
  await replica.close()
  t.ok(existsSync(`${file}-wal`))
  t.equal(await reader.value(SUM), 995 * ACCOUNTS)
  await reader.close()
  await judge(t, pair)
})

t.test('change counters that go back, and come again with other content', async (t) => {
  const pair = makePair(t, ['journal_mode = DELETE'])
  const { primary, replica, file } = pair
  await replica.apply({ bytes: primary.createAccounts() })
  const backup = path.join(path.dirname(file), 'backup.db')
  writeFileSync(backup, readFileSync(file))
  await replica.apply({ bytes: primary.run(() => primary.db.exec('UPDATE account SET balance = 1005')) })
  const reader = connect(t, file)
  t.equal(await reader.value(SUM), 1005 * ACCOUNTS)
  await replica.apply({ bytes: primary.run(() => primary.db.exec('UPDATE account SET balance = 1006')) })

  const other = new Primary(backup, [])
  t.teardown(() => other.db.close())
  await replica.apply({ bytes: other.snapshot() })
  await replica.apply({ bytes: other.run(() => other.db.exec('UPDATE account SET balance = 995')) })
  t.equal(await reader.value(SUM), 995 * ACCOUNTS)
  await reader.close()
  await judge(t, { ...pair, primary: other })
})

t.test('drop, and a new database of the same name beside the old one', async (t) => {
  const pair = makePair(t, ['journal_mode = WAL'])
  const { primary, replica, file } = pair
  await replica.apply({ bytes: primary.createAccounts() })
  const reader = connect(t, file)
  const count = () => reader.value('SELECT count(*) FROM account')
  t.equal(await count(), 100)
  await replica.apply({ bytes: primary.drop() })
  for (const suffix of ['', '-wal', '-shm', '-journal']) t.notOk(existsSync(file + suffix))
  t.equal(await count(), 100, 'who has it open keeps it')
  writeFileSync(`${file}-wal`, 'a log of nobody')
  await replica.apply({ bytes: primary.capture() })
  await reader.close()
  await judge(t, pair)
})

t.test('a bad file changes nothing', async (t) => {
  for (const mode of ['WAL', 'DELETE']) {
    const pair = makePair(t, [`journal_mode = ${mode}`])
    const { primary, replica, file } = pair
    await replica.apply({ bytes: primary.createAccounts() })
    const reader = connect(t, file)
    const before = await reader.content()
    const good = primary.run(() => primary.db.exec('UPDATE account SET note = randomblob(400)'))
    for (const at of [50, 300, good.length - 30, good.length - 1]) {
      const bad = Buffer.from(good)
      bad.writeUInt8(bad.readUInt8(at) ^ 1, at)
      await t.rejects(replica.apply({ bytes: bad }), /LTX/)
      t.ok((await reader.content()).equals(before))
    }
    await t.rejects(replica.apply({ bytes: good.subarray(0, good.length - 500) }), /LTX/)
    await t.rejects(replica.apply({ path: `${file}.ltx` }), /ENOENT/)
    writeFileSync(`${file}.ltx`, good)
    t.strictSame(await replica.apply({ path: `${file}.ltx` }), { txid: 2n, checksum: primary.checksum })
    await replica.apply({ bytes: good })
    await reader.close()
    await judge(t, pair)
  }
})

t.test('a damaged wal-index is recovered', async (t) => {
  const pair = makePair(t, ['journal_mode = WAL', 'wal_autocheckpoint = 0'])
  const { primary, replica, file } = pair
  await replica.apply({ bytes: primary.createAccounts() })
  await replica.apply({ bytes: primary.move() })
  // On descriptors of another process: closing one of ours would end the connection's locks.
  execFileSync('dd', ['if=/dev/zero', `of=${file}-shm`, 'bs=136', 'count=1', 'conv=notrunc', 'status=none'])
  await replica.apply({ bytes: primary.move() })
  await judge(t, pair)
})

t.test('a reader in the way of a rollback-mode database is waited for, as long as agreed', async (t) => {
  const pair = makePair(t, ['journal_mode = DELETE'], 200)
  const { primary, replica, file } = pair
  await replica.apply({ bytes: primary.createAccounts() })
  const reader = connect(t, file)
  await reader.rows('BEGIN')
  await reader.rows('SELECT * FROM account')
  const bytes = primary.move()
  await t.rejects(replica.apply({ bytes }), /Cannot write to .*replica\.db: others have held it for 200 ms/)
  t.equal(await reader.value('SELECT count(*) FROM move'), 0)
  await reader.rows('COMMIT')
  await replica.apply({ bytes })
  t.equal(await reader.value('SELECT max(seq) FROM move'), 1)
  await reader.close()
  await judge(t, pair)
})

t.test('a path that is too long for SQLite is told', async (t) => {
  const { primary, file } = makePair(t, ['journal_mode = wal'])
  const dir = path.join(path.dirname(file), 'd'.repeat(250), 'd'.repeat(250))
  mkdirSync(dir, { recursive: true })
  const options = { sync: false, busyTimeoutMs: 1000, signal: new AbortController().signal }
  const replica = new ReplicaDatabase(path.join(dir, 'a.db'), options, (error) => t.fail(error.message))
  await replica.apply({ bytes: primary.run(() => primary.db.exec('CREATE TABLE t(a)')) })
  const bytes = primary.run(() => primary.db.exec('INSERT INTO t VALUES(1)'))
  await t.rejects(replica.apply({ bytes }), {
    message:
      /^Cannot open .*a\.db with SQLite: unable to open database file; .* more than 504 bytes: choose a shorter fuse\.dir$/,
  })
  await replica.close()
})
