// What is written without a journal is a transaction as soon as its writer has let go of the database, whoever has it open.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, run, startMount } from './harness.js'
import { contentHash, positionOf, sqlite } from './judges.js'
import { Shell } from './shell.js'

/** Many times what the daemon lets pass between two looks (src/store/unjournaled.ts). */
const LONG_PAUSE_MS = 500
const TIMEOUT_MS = 10_000
const SPILLED =
  'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) INSERT INTO t SELECT randomblob(200) FROM n;'

async function newPosition(mount: Mount, name: string, before: { txid: string }): Promise<{ txid: string }> {
  const deadline = Date.now() + TIMEOUT_MS
  for (;;) {
    const position = await positionOf(mount.dir, name)
    if (position.txid !== before.txid) return position
    if (Date.now() > deadline) throw new Error(`Cannot see a position after ${before.txid} within ${TIMEOUT_MS} ms`)
    await delay(5)
  }
}

async function shellOn(t: Test, file: string): Promise<Shell> {
  const shell = new Shell(file)
  t.teardown(() => shell.kill())
  return shell
}

async function databaseOutside(t: Test, sql: string): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-outside-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const file = path.join(dir, 'outside.db')
  await sqlite(file, sql)
  return file
}

for (const mode of ['memory', 'off']) {
  t.test(`journal_mode=${mode}: captured while the connection stays open`, async (t) => {
    const mount = await startMount(t)
    const file = path.join(mount.dir, 'a.db')
    await sqlite(file, 'CREATE TABLE t(a)')
    const shell = await shellOn(t, file)
    await shell.execute(`PRAGMA journal_mode=${mode}; PRAGMA cache_size=5`)
    for (let n = 1; n <= 3; n++) {
      const before = await positionOf(mount.dir, 'a.db')
      await shell.execute(`INSERT INTO t VALUES(${n})`)
      await newPosition(mount, 'a.db', before)
      await agree(t, mount, 'a.db')
    }
    const before = await positionOf(mount.dir, 'a.db')
    await shell.execute(`BEGIN; ${SPILLED}`)
    await delay(LONG_PAUSE_MS)
    t.same(await positionOf(mount.dir, 'a.db'), before, 'a transaction under way is none yet')
    await shell.execute('COMMIT')
    await newPosition(mount, 'a.db', before)
    await agree(t, mount, 'a.db')
    t.match(mount.output(), /written without a journal.*captured after/, 'and the log says so')
  })
}

t.test('a connection that went on without a journal turns to WAL', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'CREATE TABLE t(a)')
  await sqlite(
    file,
    `PRAGMA journal_mode=memory; ${SPILLED} PRAGMA journal_mode=wal; INSERT INTO t VALUES(2);
     PRAGMA journal_mode=off; INSERT INTO t VALUES(3); PRAGMA journal_mode=delete; INSERT INTO t VALUES(4);`,
  )
  await agree(t, mount, 'a.db')
  t.equal(await sqlite(file, 'SELECT count(*) FROM t'), '2003\n')
})

t.test('several connections write without a journal at once', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'CREATE TABLE t(a)')
  const inserts = `PRAGMA journal_mode=memory;\n${'INSERT INTO t VALUES(hex(randomblob(2000)));\n'.repeat(100)}`
  const idle = await shellOn(t, file)
  await idle.execute('SELECT * FROM t')
  const before = await positionOf(mount.dir, 'a.db')
  await Promise.all([1, 2, 3].map(() => run('sqlite3', ['-cmd', '.timeout 30000', file], { input: inserts })))
  await newPosition(mount, 'a.db', before)
  await agree(t, mount, 'a.db')
  t.equal(await idle.execute('SELECT count(*) FROM t'), '300\n')
})

t.test('a copy is a transaction once it is complete, though others have the database open', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'CREATE TABLE t(a); INSERT INTO t VALUES(1)')
  const outside = await databaseOutside(t, `CREATE TABLE t(a); ${SPILLED}`)
  const reader = await shellOn(t, file)
  t.equal(await reader.execute('SELECT count(*) FROM t'), '1\n')
  const before = await positionOf(mount.dir, 'a.db')
  const bytes = await readFile(outside)
  const copy = await open(file, 'w')
  await copy.write(bytes.subarray(0, 100_000), 0, 100_000, 0)
  await run('sqlite3', [file, 'SELECT count(*) FROM t'])
  await delay(LONG_PAUSE_MS)
  t.same(await positionOf(mount.dir, 'a.db'), before, 'half of it is nothing')
  await copy.write(bytes.subarray(100_000), 0, bytes.length - 100_000, 100_000)
  await copy.close()
  await newPosition(mount, 'a.db', before)
  await agree(t, mount, 'a.db')
  t.equal(await reader.execute('SELECT count(*) FROM t'), '2000\n')
})

for (const end of ['the daemon is stopped', 'the daemon is killed', 'it is copied again'] as const) {
  t.test(`a copy that was never finished, and ${end}`, async (t) => {
    const first = await startMount(t)
    const file = path.join(first.dir, 'a.db')
    await sqlite(file, 'CREATE TABLE t(a); INSERT INTO t VALUES(1)')
    const content = await contentHash(file)
    const before = await positionOf(first.dir, 'a.db')
    const outside = await databaseOutside(t, `CREATE TABLE t(a); ${SPILLED} ${SPILLED}`)
    for (const target of [file, path.join(first.dir, 'new.db')]) {
      const copy = await halfCopy(outside, target)
      copy.kill('SIGKILL')
      await once(copy, 'close')
    }
    await first.waitForLine('new.db: is shorter than its header says')
    t.same(await positionOf(first.dir, 'a.db'), before, 'is no transaction')
    t.notOk((await readdir(first.dir)).includes('new.db-pos'))
    if (end === 'it is copied again') {
      await copyFile(outside, file)
      t.not((await positionOf(first.dir, 'a.db')).txid, before.txid)
      await agree(t, first, 'a.db')
      return
    }
    if (end === 'the daemon is stopped') t.equal(await first.stop(), 0)
    else await first.kill('SIGKILL')
    const mount = await startMount(t, { dataDir: first.dataDir, mountDir: first.dir })
    t.equal(await contentHash(file), content, 'the database is what it was')
    t.same(await positionOf(mount.dir, 'a.db'), before)
    await agree(t, mount, 'a.db')
    t.notOk((await readdir(first.dir)).includes('new.db-pos'))
    await copyFile(outside, path.join(first.dir, 'new.db'))
    await agree(t, mount, 'new.db')
  })
}

/** Copies the first half of a file and waits. */
async function halfCopy(from: string, to: string): Promise<ChildProcess> {
  const script = `
import os, sys, time
bytes = open(sys.argv[1], 'rb').read()
f = os.open(sys.argv[2], os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
os.write(f, bytes[:len(bytes) // 2])
print('half', flush=True)
time.sleep(60)`
  const child = spawn('python3', ['-c', script, from, to], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}
