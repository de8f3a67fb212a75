// A cluster that is moved from LiteFS 0.5 to this project node by node: nodes of both kinds share the lease in Consul, and the stream. The peer is
// LiteFS itself where LITEFS_ORIGINAL names its binary, and otherwise a fake.
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { startConsul } from '../servers/consul.js'
import { freePort } from '../servers/ports.js'
import { Place } from '../system/clusters.js'
import { sqliteHalted } from '../system/halt-nodes.js'
import { run } from '../system/harness.js'
import { contentHash, inspect, positionOf, sqlite } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import { FakeLitefsPeer } from './fake-litefs-peer.js'
import type { LitefsPeer } from './litefs-peer.js'
import { RealLitefsPeer } from './real-litefs-peer.js'

/** The shortest that Consul takes; it ends sessions up to twice as late. */
const TTL_MS = 1000
const LOCK_DELAY_MS = 100
const CHANGE_MS = 15_000
const NAMES = ['delete.db', 'wal.db'] as const
const CREATE = 'CREATE TABLE t(a PRIMARY KEY, b); INSERT INTO t VALUES(0, randomblob(9000));'

needsMounting()
t.setTimeout(120_000)

interface Mixed {
  readonly peer: LitefsPeer
  readonly ours: Place
  readonly consul: string
}

/** Commits until that fails, and prints each number that is committed. */
const writerScript = `
  const Database = require('better-sqlite3')
  const db = new Database(process.argv[1], { timeout: 5000 })
  const insert = db.prepare('INSERT INTO t VALUES(?, randomblob(100))')
  for (let a = 1000; ; a++) {
    try { insert.run(a) } catch (error) { process.exit(0) }
    console.log(a)
  }
`

async function startMixed(t: Test): Promise<Mixed> {
  const { port } = await startConsul(t)
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-migration-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  // With a path, for which LiteFS and ours register the same node in Consul's catalog.
  const url = `http://127.0.0.1:${port}/app`
  const key = 'litefs/primary'
  const options = {
    base,
    url,
    key,
    hostname: 'theirs',
    ttlMs: TTL_MS,
    lockDelayMs: LOCK_DELAY_MS,
    port: await freePort(),
  }
  const program = process.env['LITEFS_ORIGINAL']
  t.comment(
    program === undefined ? 'a fake stands in for LiteFS: LITEFS_ORIGINAL names no binary' : `LiteFS: ${program}`,
  )
  const peer = program === undefined ? new FakeLitefsPeer(options) : new RealLitefsPeer(t, program, options)
  t.teardown(() => peer.kill())
  const consul = { url, key, ttl: `${TTL_MS}ms`, 'lock-delay': `${LOCK_DELAY_MS}ms` }
  const lease = { type: 'consul', consul, 'reconnect-delay': '50ms', 'demote-delay': '3s' }
  const at = `http://127.0.0.1:${await freePort()}`
  const ours = new Place(t, { hostname: 'ours', url: at, base, lease, equip: () => ({}) })
  return { peer, ours, consul: `http://127.0.0.1:${port}/v1/kv/app/${key}` }
}

async function isPrimary(url: string): Promise<boolean> {
  const answer = await fetch(`${url}/info`).catch(() => undefined)
  return ((await answer?.json().catch(() => undefined)) as { isPrimary?: boolean } | undefined)?.isPrimary ?? false
}

async function leads({ url, hostname }: { url: string; hostname: string }): Promise<void> {
  await eventually(`${hostname} as primary`, CHANGE_MS, async () => (await isPrimary(url)) || undefined)
}

async function follows(url: string, hostname: string): Promise<void> {
  await eventually(`a replica of ${hostname}`, CHANGE_MS, async () => {
    const { primary } = (await (await fetch(`${url}/info`)).json()) as { primary: { hostname: string } }
    return primary.hostname === hostname || undefined
  })
}

/** Both stand at the same, and hold the same. Gives the rows of each database. */
async function agreeing(t: Test, { peer, ours }: Mixed, what: string): Promise<string> {
  const rows: string[] = []
  for (const name of NAMES) {
    await eventually(`${name} the same (${what})`, CHANGE_MS, async () => {
      const [theirs, here] = await Promise.all([
        peer.position(name).catch(() => undefined),
        positionOf(ours.dir, name).catch(() => undefined),
      ])
      return (theirs !== undefined && theirs.txid === here?.txid && theirs.checksum === here.checksum) || undefined
    })
    const mine = path.join(ours.dir, name)
    const [here, theirs] = await Promise.all([inspect(mine), contentHash(peer.file(name))])
    t.strictSame(here, { hash: theirs, integrity: 'ok' }, `${name}: the same content, ${what}`)
    rows.push((await sqlite(mine, 'SELECT count(*), max(a) FROM t')).trim())
  }
  return rows.join(' ')
}

const insert = (a: number) => `INSERT INTO t VALUES(${a}, randomblob(5000));`

function inserts(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, i) => insert(from + i)).join('\n')
}

async function writeThere({ peer }: Mixed, from: number, to: number): Promise<void> {
  for (const name of NAMES) await peer.execute(name, inserts(from, to))
}

async function writeHere({ ours }: Mixed, from: number, to: number): Promise<void> {
  for (const name of NAMES) await sqlite(path.join(ours.dir, name), inserts(from, to))
}

async function leaseIn(consul: string): Promise<Record<string, string>> {
  const [{ Value }] = (await (await fetch(consul)).json()) as [{ Value: string }]
  return JSON.parse(Buffer.from(Value, 'base64').toString()) as Record<string, string>
}

t.test('the lease goes from LiteFS to ours and back, in every way it can', async (t) => {
  const mixed = await startMixed(t)
  const { peer, ours, consul } = mixed

  await peer.start()
  await leads(peer)
  for (const name of NAMES) await peer.execute(name, `PRAGMA journal_mode=${name.split('.')[0]}; ${CREATE}`)
  await ours.start()
  await ours.mount.waitForLine('connected to cluster, ready')
  await writeThere(mixed, 1, 5)
  t.equal(await agreeing(t, mixed, 'ours follows theirs'), '6|5 6|5')
  const clusterId = await (await fetch(`${consul}/clusterid?raw`)).text()
  t.match(clusterId, /^LFSC[0-9A-F]{16}$/)
  t.equal(
    (await fetch(`${ours.url}/info`)).headers.get('litefs-cluster-id'),
    clusterId,
    'the cluster that LiteFS founded',
  )
  const halted = await sqliteHalted(path.join(ours.dir, 'delete.db'), insert(6) + insert(7))
  t.match(halted, { code: 0 }, 'ours writes under the halt lock of theirs')
  await writeThere(mixed, 8, 8)
  t.equal(await agreeing(t, mixed, 'after the halt lock'), '9|8 7|8')

  t.equal((await ours.post('/promote')).status, 200, 'theirs hands over')
  await follows(peer.url, 'ours')
  t.match(await leaseIn(consul), { hostname: 'ours', 'advertise-url': ours.url, epoch: '1' })
  await writeHere(mixed, 10, 15)
  t.equal(await agreeing(t, mixed, 'theirs follows ours'), '15|15 13|15')
  if ((await peer.executeHalted('delete.db', insert(16))) === undefined) await writeHere(mixed, 16, 16)
  t.equal((await agreeing(t, mixed, 'the halt lock of ours')).split(' ')[0], '16|16')

  t.equal((await fetch(`${peer.url}/promote`, { method: 'POST' })).status, 200, 'ours hands over')
  await leads(peer)
  await follows(ours.url, 'theirs')
  t.strictSame(await leaseIn(consul), { hostname: 'theirs', 'advertise-url': peer.url })
  await writeThere(mixed, 20, 22)
  t.equal((await agreeing(t, mixed, 'theirs leads again')).split(' ')[0], '19|22')

  await peer.kill()
  await leads(ours)
  t.match(await leaseIn(consul), { hostname: 'ours', epoch: '2' }, 'when theirs has run out')
  await writeHere(mixed, 30, 39)
  await peer.start()
  await follows(peer.url, 'ours')
  t.equal((await agreeing(t, mixed, 'theirs is back')).split(' ')[0], '29|39')

  const writing = run(process.execPath, ['-e', writerScript, path.join(ours.dir, 'wal.db')])
  await eventually('commits', CHANGE_MS, async () => {
    const count = await sqlite(path.join(ours.dir, 'wal.db'), 'SELECT count(*) FROM t WHERE a >= 1000')
    return Number(count) > 30 || undefined
  })
  t.equal(await ours.mount.stop(), 0)
  const { stdout } = await writing
  const acknowledged = stdout.trim().split('\n').length
  await leads(peer)
  const there = Number(await peer.execute('wal.db', 'SELECT count(*) FROM t WHERE a >= 1000'))
  t.ok(
    there === acknowledged || there === acknowledged + 1,
    `${acknowledged} acknowledged by ours that ends, ${there} there`,
  )
  await writeThere(mixed, 50, 51)
  await ours.start()
  await follows(ours.url, 'theirs')
  t.equal((await agreeing(t, mixed, 'ours had ended, and theirs had everything')).split(' ')[0], '31|51')

  await peer.stop()
  await leads(ours)
  await writeHere(mixed, 60, 61)
  await peer.start()
  t.equal((await agreeing(t, mixed, 'theirs had ended')).split(' ')[0], '33|61')
  t.notMatch(ours.mount.output(), /level=ERROR/)
})
