// New replicas that begin with the backup of their primary and take only the rest from it; and what must not come from there.
import { existsSync } from 'node:fs'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { ACCESS_KEY, SECRET_KEY, startRadosgw } from '../servers/radosgw.js'
import { backedUp, FAST, sql } from './backups.js'
import { type ConfigSections, type Mount, startMount } from './harness.js'
import { positionOf } from './judges.js'
import { same, startReplica } from './replicas.js'

/** No full copies and nothing removed, so that each file's part is known. */
const UPLOADS_ONLY = { ...FAST, levels: [], 'l0-retention': '0s' }

function backupConfig(directory: string, more: object = {}): ConfigSections {
  return { backup: { url: `file://${directory}`, ...UPLOADS_ONLY, ...more } }
}

const insert = (bytes: number) => `insert into t(b) values (hex(randomblob(${bytes})))`
const CREATE = 'pragma journal_mode = wal; create table t(a integer primary key, b)'

/** How many whole databases the primary has sent under this name. */
async function snapshotsOf({ url }: Mount, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const line = text.split('\n').find((line) => line.includes(`db="${name}"`) && line.includes('type="ltx:snapshot"'))
  return Number(line?.split(' ').at(-1) ?? 0)
}

async function uploadsOf(backup: string, name: string): Promise<string[]> {
  const directory = path.join(backup, name, 'ltx/0')
  return (await readdir(directory)).sort().map((file) => path.join(directory, file))
}

/** `backup`: a directory, or the keys of another storage. */
function startBootstrapped(t: Test, primary: Mount, backup: string | object, dataDir?: string): Promise<Mount> {
  const keys = typeof backup === 'string' ? { url: `file://${backup}` } : backup
  const configExtra = { backup: { ...keys, bootstrap: true } }
  return startReplica(t, primary.url, dataDir === undefined ? { configExtra } : { configExtra, dataDir })
}

t.test('what the backup has comes from there, the rest from the primary', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const moved = path.join(t.testdirName, 'moved')
  const primary = await startMount(t, { configExtra: backupConfig(backup) })
  const file = (name: string) => path.join(primary.dir, name)
  for (const name of ['my.db', 'dropped.db', 'torn.db']) {
    await sql(file(name), `${CREATE}; ${insert(1_000_000)}`)
    await sql(file(name), `${insert(20_000)}; delete from t where a = 7`)
    await backedUp(primary, name)
  }
  // As it was then: the primary goes on from there.
  await cp(backup, moved, { recursive: true, preserveTimestamps: true })
  await sql(file('my.db'), insert(1000))
  await sql(file('late.db'), `${CREATE}; ${insert(100)}`)
  await rm(file('dropped.db'))
  const [, torn = ''] = await uploadsOf(moved, 'torn.db')
  const bytes = await readFile(torn)
  await writeFile(torn, bytes.fill(bytes.readUInt8(200) ^ 1, 200, 201))

  const replica = await startBootstrapped(t, primary, moved)
  for (const name of ['my.db', 'late.db', 'torn.db']) await same(t, { primary, replica }, name)
  t.match(replica.output(), /my\.db begins with its backup, .*: [1-3]\.\d MB/)
  t.match(replica.output(), /my\.db is at [0-9a-f]{16}\/[0-9a-f]{16}, as its backup/)
  t.match(replica.output(), /torn\.db cannot begin with its backup, the primary sends all of it: .*2\.ltx/)
  t.equal(await snapshotsOf(primary, 'my.db'), 0, 'the primary sent what followed')
  t.equal(await snapshotsOf(primary, 'torn.db'), 1)
  t.notOk(existsSync(path.join(replica.dir, 'dropped.db')), 'what the primary has dropped does not come back')
  t.notMatch(replica.output(), /dropped\.db begins/)
  t.notOk(existsSync(path.join(replica.dataDir, 'bootstrap')), 'nothing is left')
  t.notOk(existsSync(path.join(replica.dataDir, 'superseded')))

  await sql(file('my.db'), insert(5000))
  await same(t, { primary, replica }, 'my.db')
  t.equal(await replica.stop(), 0)
  t.notMatch(replica.output(), 'level=ERROR', 'a drop of what it never had is stored like any transaction')
})

t.test('a restored cluster, which goes on with the TXIDs of its backup', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const first = await startMount(t, { configExtra: backupConfig(backup) })
  await sql(path.join(first.dir, 'my.db'), `${CREATE}; ${insert(9000)}`)
  await sql(path.join(first.dir, 'my.db'), Array(5).fill(insert(9000)).join(';'))
  await backedUp(first, 'my.db')
  const { txid } = await positionOf(first.dir, 'my.db')
  t.equal(await first.stop(), 0)
  const primary = await startMount(t, { configExtra: backupConfig(backup, { 'restore-if-db-not-exists': true }) })
  const replica = await startBootstrapped(t, primary, backup)
  await same(t, { primary, replica }, 'my.db')
  t.match(replica.output(), `my.db is at ${txid}/`, "the primary's TXID")
  t.equal(await snapshotsOf(primary, 'my.db'), 0)

  // The first cluster was not gone. With what it went on to do there, the backup is of another history.
  const other = path.join(t.testdirName, 'other')
  const again = await startMount(t, { configExtra: backupConfig(other), dataDir: first.dataDir, mountDir: first.dir })
  await sql(path.join(again.dir, 'my.db'), insert(100))
  await backedUp(again, 'my.db')
  const ahead = await startBootstrapped(t, primary, other)
  await same(t, { primary, replica: ahead }, 'my.db')
  t.match(
    ahead.output(),
    /cannot begin with its backup, the primary sends all of it: it is at 0+[89]\/.* and the primary at 0+[78]\//,
  )
  await sql(path.join(primary.dir, 'my.db'), Array(12).fill(insert(100)).join(';'))
  const apart = await startBootstrapped(t, primary, other)
  await same(t, { primary, replica: apart }, 'my.db')
  t.match(apart.output(), /my\.db is at [0-9a-f]{16}\/.*, as its backup/)
  t.equal(await snapshotsOf(primary, 'my.db'), 2, 'the primary saw that it was not its history, both times')
})

t.test('a replica that is killed while it begins, with a backup in S3', async (t) => {
  t.testdir()
  const s3 = await startRadosgw(t)
  await s3.createBucket('tests')
  const keys = { 'access-key-id': ACCESS_KEY, 'secret-access-key': SECRET_KEY, 'part-size': '5MiB' }
  const backup = { url: 's3://tests/some/path', endpoint: s3.endpoint, ...keys }
  const primary = await startMount(t, { configExtra: { backup: { ...UPLOADS_ONLY, ...backup } } })
  await sql(path.join(primary.dir, 'my.db'), `${CREATE}; ${insert(6_000_000)}`)
  await backedUp(primary, 'my.db')
  const dataDir = path.join(t.testdirName, 'data')
  const killed = await startBootstrapped(t, primary, backup, dataDir)
  await killed.waitForLine('my.db begins with its backup')
  await killed.kill('SIGKILL')
  const replica = await startBootstrapped(t, primary, backup, dataDir)
  await same(t, { primary, replica }, 'my.db')
  t.equal(await snapshotsOf(primary, 'my.db'), 0)
})
