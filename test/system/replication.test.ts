// A primary and a replica, each a `litefs mount` of its own: what the one commits the other shows, whatever happens to either.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { freePort } from '../servers/ports.js'
import { agree } from './agreement.js'
import { litefsScript, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { inSync, type Pair, same, startReplica } from './replicas.js'

const VANISH_MS = 60_000
const worker = fileURLToPath(new URL('accounts.js', import.meta.url))

function clusterId(dataDir: string): Promise<string> {
  return readFile(path.join(dataDir, 'clusterid'), 'utf8').then((text) => text.trim())
}

async function startPair(t: Test): Promise<Pair> {
  const primary = await startMount(t)
  return { primary, replica: await startReplica(t, primary.url) }
}

/** Starts accounts.js; `finish` gives the lines that it printed, and fails when it found something wrong. */
function accounts(t: Test, role: 'write' | 'read', file: string, mode: string) {
  const child = spawn(process.execPath, [worker, role, file, mode], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const output = text(child.stdout)
  const exited = once(child, 'exit')
  return {
    finish: async () => {
      child.stdin.end()
      const [code] = await exited
      const printed = await output
      t.equal(code, 0, `${role} ${path.basename(file)}: ${printed.trim()}`)
      return Number(printed)
    },
  }
}

t.test('a replica shows each transaction whole, in every journal mode', async (t) => {
  const pair = await startPair(t)
  const { primary, replica } = pair
  for (const mode of ['wal', 'delete', 'truncate', 'persist']) {
    const name = `${mode}.db`
    await sqlite(
      path.join(primary.dir, name),
      `PRAGMA journal_mode=${mode}; CREATE TABLE accounts(id INTEGER PRIMARY KEY, amount INTEGER);
       WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<100) INSERT INTO accounts SELECT i, 100 FROM c;`,
    )
    await inSync(t, pair, name)
    const readers = [0, 1].map(() => accounts(t, 'read', path.join(replica.dir, name), mode))
    const writer = accounts(t, 'write', path.join(primary.dir, name), mode)
    await delay(3000)
    t.ok((await writer.finish()) > 0, 'transactions')
    await inSync(t, pair, name)
    for (const reader of readers) t.ok((await reader.finish()) > 0, 'reads')
    await same(t, pair, name)
    await agree(t, replica, name)
  }
})

t.test('a replica says whose replica it is, and refuses writes', async (t) => {
  const pair = await startPair(t)
  const { primary, replica } = pair
  await sqlite(path.join(primary.dir, 'a.db'), 'CREATE TABLE t(a); INSERT INTO t VALUES(1);')
  await same(t, pair, 'a.db')
  t.equal(await readFile(path.join(replica.dir, '.primary'), 'utf8'), 'first\n')
  t.match(await readFile(path.join(replica.dir, '.lag'), 'utf8'), /^\+\d{9,10}\n$/)
  await t.rejects(readFile(path.join(primary.dir, '.primary')), { code: 'ENOENT' })
  await t.rejects(sqlite(path.join(replica.dir, 'a.db'), 'INSERT INTO t VALUES(2);'), /readonly|unable to open/)
  t.equal(await sqlite(path.join(replica.dir, 'a.db'), 'SELECT a FROM t;'), '1\n')
  t.match(
    replica.output(),
    /level=WARN msg="write to a\.db refused: .*\(first\)" db=a\.db pid=\d+ command=sqlite3 primary=first/,
  )
  const metrics = await (await fetch(`${replica.url}/metrics`)).text()
  t.match(metrics, /^litefs_db_rejected_write_count\{db="a\.db"\} [1-9]/m)
  const connection = new Database(path.join(replica.dir, 'a.db'))
  for (let attempt = 0; attempt < 50; attempt++) t.throws(() => connection.exec('INSERT INTO t VALUES(2)'))
  connection.close()
  t.equal(replica.output().match(/write to a\.db refused/g)?.length, 1, 'one line for all attempts')
  const ltxDir = path.join(primary.dataDir, 'dbs', 'a.db', 'ltx')
  const sizes = (await run('sh', ['-c', `stat -c %s ${ltxDir}/*.ltx`])).stdout.trim().split('\n').map(Number)
  const ofPrimary = await (await fetch(`${primary.url}/metrics`)).text()
  t.match(ofPrimary, new RegExp(`^litefs_db_ltx_count\\{db="a\\.db"\\} ${sizes.length}$`, 'm'))
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  t.match(ofPrimary, new RegExp(`^litefs_db_ltx_bytes\\{db="a\\.db"\\} ${bytes}$`, 'm'))
  t.match(ofPrimary, /^litefs_db_ltx_reap_count\{db="a\.db"\} 0$/m)
  const info = await (await fetch(`${replica.url}/info`)).json()
  t.match(info, { isPrimary: false, primary: { hostname: 'first' } })
  t.equal((await fetch(`${replica.url}/health/ready`)).status, 200)
  t.match(replica.output(), 'existing primary found (first), connecting as replica to')
})

t.test('status shows who follows whom', async (t) => {
  const pair = await startPair(t)
  const { primary, replica } = pair
  const status = async (url: string, ...args: string[]) =>
    (await run(process.execPath, [litefsScript, 'status', '-url', url, ...args])).stdout
  await sqlite(path.join(primary.dir, 'a.db'), 'CREATE TABLE t(a);')
  await same(t, pair, 'a.db')
  const id: string = JSON.parse(await status(replica.url, '-json')).nodeId
  const since = '\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z'
  t.match(
    await status(primary.url),
    new RegExp(
      `\nREPLICA +ADDRESS +CONNECTED SINCE +DATABASE +SENT TXID +BEHIND\n${id} +127\\.0\\.0\\.1 +${since} +a\\.db +0{15}1 +0\n$`,
    ),
  )
  t.match(JSON.parse(await status(primary.url, '-json')).peers, { primary: null, replicas: [{ nodeId: id }] })
  t.match(await status(replica.url), new RegExp(`\nprimary +first at ${primary.url}, connected, \\d+ ms behind\n`))
  const { peers } = JSON.parse(await status(replica.url, '-json'))
  t.match(peers, { primary: { hostname: 'first', url: primary.url, connected: true }, replicas: [] })
  await replica.stop()
  t.match(await status(primary.url), /\nno replicas connected\n$/)
})

t.test('what changes a whole database: VACUUM, page size, journal mode, drop, rename, import', async (t) => {
  const pair = await startPair(t)
  const { primary, replica } = pair
  const file = path.join(primary.dir, 'a.db')
  const rows =
    'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<2000) INSERT INTO t SELECT hex(randomblob(60)) FROM c;'
  await sqlite(file, `CREATE TABLE t(a); ${rows}`)
  await same(t, pair, 'a.db')
  const steps = [
    'DELETE FROM t WHERE rowid % 2; VACUUM;',
    'PRAGMA page_size=8192; VACUUM;',
    'PRAGMA journal_mode=wal; INSERT INTO t VALUES(1);',
    `${rows} PRAGMA wal_checkpoint(TRUNCATE);`,
    'PRAGMA journal_mode=delete; INSERT INTO t VALUES(2);',
    'PRAGMA auto_vacuum=full; VACUUM; DELETE FROM t WHERE rowid > 10;',
  ]
  for (const step of steps) {
    await sqlite(file, step)
    await same(t, pair, 'a.db')
  }
  await run('mv', [file, path.join(primary.dir, 'b.db')])
  await same(t, pair, 'b.db')
  await run('cp', [path.join(primary.dir, 'b.db'), path.join(primary.dir, 'c.db')])
  await same(t, pair, 'c.db')
  await run('rm', [path.join(primary.dir, 'b.db')])
  const deadline = Date.now() + VANISH_MS
  while (Date.now() < deadline && (await run('ls', [replica.dir])).stdout.includes('b.db')) await delay(20)
  t.equal((await run('ls', [replica.dir])).stdout, 'c.db\nc.db-pos\n')
})

t.test('either side may be killed at any moment', async (t) => {
  const pair = await startPair(t)
  const file = path.join(pair.primary.dir, 'a.db')
  await sqlite(
    file,
    `PRAGMA journal_mode=wal; CREATE TABLE accounts(id INTEGER PRIMARY KEY, amount INTEGER);
     WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<100) INSERT INTO accounts SELECT i, 100 FROM c;`,
  )
  await inSync(t, pair, 'a.db')
  const writer = accounts(t, 'write', file, 'wal')
  for (let round = 0; round < 2; round++) {
    await delay(300 + 200 * round)
    await pair.replica.kill('SIGKILL')
    pair.replica = await startReplica(t, pair.primary.url, { dataDir: pair.replica.dataDir })
  }
  await writer.finish()
  await same(t, pair, 'a.db')
  await agree(t, pair.replica, 'a.db')
})

t.test("a replica that has a history of its own keeps it aside and takes the primary's", async (t) => {
  const alone = await startMount(t)
  await sqlite(
    path.join(alone.dir, 'a.db'),
    'CREATE TABLE own(a); INSERT INTO own VALUES(1); INSERT INTO own VALUES(2);',
  )
  await alone.stop()
  const primary = await startMount(t)
  await sqlite(path.join(primary.dir, 'a.db'), 'CREATE TABLE theirs(a);')
  // It was a cluster of its own: neither side lets it in by accident.
  const stranger = await startReplica(t, primary.url, { dataDir: alone.dataDir })
  const [ours, theirs] = await Promise.all([primary, alone].map(({ dataDir }) => clusterId(dataDir)))
  await stranger.waitForLine(`this is cluster ${ours}, the replica's data belongs to ${theirs}`)
  t.match(stranger.output(), /or remove clusterid in its data\.dir/)
  t.notOk(existsSync(path.join(alone.dataDir, 'superseded')), 'nothing was replaced')
  await stranger.stop()
  await rm(path.join(alone.dataDir, 'clusterid'))
  const pair = { primary, replica: await startReplica(t, primary.url, { dataDir: alone.dataDir }) }
  await same(t, pair, 'a.db')
  t.equal(await clusterId(alone.dataDir), ours)
  const kept = (await run('sh', ['-c', `ls ${alone.dataDir}/superseded/*`])).stdout
  t.match(kept, /0000000000000001-0000000000000001\.ltx/)
  t.match(kept, /0000000000000003-0000000000000003\.ltx/)
  await sqlite(path.join(primary.dir, 'a.db'), 'INSERT INTO theirs VALUES(1);')
  await same(t, pair, 'a.db')
  await pair.replica.stop()
  pair.replica = await startReplica(t, primary.url, { dataDir: alone.dataDir })
  await same(t, pair, 'a.db')
})

t.test('a snapshot with another page size takes the place of a database in WAL mode', async (t) => {
  const port = await freePort()
  const primary = await startMount(t, { configExtra: { http: { addr: `127.0.0.1:${port}` } } })
  const url = `http://127.0.0.1:${port}`
  const file = path.join(primary.dir, 'wal.db')
  await sqlite(file, 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);')
  const first = await startReplica(t, url)
  await same(t, { primary, replica: first }, 'wal.db')
  await first.stop()
  await primary.stop()
  // To go over to another cluster is the operator's decision.
  await rm(path.join(first.dataDir, 'clusterid'))
  const other = await startMount(t, { configExtra: { http: { addr: `127.0.0.1:${port}` } } })
  await sqlite(
    path.join(other.dir, 'wal.db'),
    'PRAGMA page_size=8192; PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(2); INSERT INTO t VALUES(3); INSERT INTO t VALUES(4);',
  )
  const replica = await startReplica(t, url, { dataDir: first.dataDir, mountDir: first.dir })
  await same(t, { primary: other, replica }, 'wal.db')
})
