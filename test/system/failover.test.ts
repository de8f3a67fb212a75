// The primary is killed, stopped or cut off from the lease store, and a node comes back with transactions that nobody else has.
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { needsMounting } from '../needs-mounting.js'
import {
  agreeing,
  type Cluster,
  createLog,
  entriesOf,
  FILE,
  more,
  type Place,
  type RoutedWriter,
  SLACK_MS,
  startCluster,
  startWriter,
  TTL_MS,
} from './clusters.js'
import { run } from './harness.js'
import { sqlite } from './judges.js'
import { eventually, inSync } from './replicas.js'
import { Shell } from './shell.js'

/** etcd looks for leases that have ended twice a second, and grants whole seconds. */
const STORE_SLACK_MS = 1500

needsMounting()

async function started(t: Test): Promise<Cluster & { first: Place; others: Place[] }> {
  const cluster = await startCluster(t, 3)
  const [first, ...others] = cluster.places
  if (first === undefined) throw new Error('three nodes')
  await createLog(first)
  await agreeing(t, first, others)
  return { ...cluster, first, others }
}

/** Commits that are not there: only such that the old primary never sent may be missing. */
async function missing(t: Test, writer: RoutedWriter, name: string, primary: Place, old: Place): Promise<number> {
  const entries = await entriesOf(primary, name)
  const lost = writer.acknowledged.filter(({ seq }) => !entries.has(seq))
  t.ok(
    lost.every(({ node }) => node === old.hostname),
    `${lost.length} commits of the old primary alone are missing`,
  )
  return lost.length
}

async function setAside(place: Place): Promise<string[]> {
  return await readdir(path.join(place.dataDir, 'superseded')).catch(() => [])
}

const PLAIN = 'plain'

/** A reader on each of these nodes, in whose way is what the primary has committed to a database in a rollback mode since. */
async function startReaders(t: Test, first: Place, others: readonly Place[]): Promise<Map<Place, Shell>> {
  await sqlite(path.join(first.dir, PLAIN), 'CREATE TABLE t(a); INSERT INTO t VALUES(1)')
  const readers = new Map<Place, Shell>()
  for (const other of others) {
    await inSync(t, { primary: first.mount, replica: other.mount }, PLAIN)
    const reader = new Shell(path.join(other.dir, PLAIN))
    t.teardown(() => reader.kill())
    await reader.execute('BEGIN; SELECT * FROM t')
    readers.set(other, reader)
  }
  await sqlite(path.join(first.dir, PLAIN), 'INSERT INTO t VALUES(2)')
  return readers
}

t.test('a primary that is killed under a writer', async (t) => {
  const { first, others, primary, places } = await started(t)
  const readers = await startReaders(t, first, others)
  const writer = await startWriter(t, 'w', others)
  const local = await startWriter(t, 'v', [first])
  await more(local, 50)
  const killedMs = Date.now()
  await first.mount.kill('SIGKILL')
  const second = await primary(others)
  await more(writer, 1)
  const [{ doneMs = 0 } = {}] = writer.acknowledged
  t.comment(`a commit ${doneMs - killedMs} ms after the kill`)
  t.ok(doneMs - killedMs <= TTL_MS + STORE_SLACK_MS + SLACK_MS, `${doneMs - killedMs} ms`)

  const plain = path.join(second.dir, PLAIN)
  t.match(second.mount.output(), /plain cannot be written yet: what the last primary has sent waits for readers/)
  t.match(await run('sqlite3', [plain, 'INSERT INTO t VALUES(3)']), { stderr: /locked|readonly/ })
  for (const place of [second, ...others.filter((other) => other !== second)]) {
    await readers.get(place)?.execute('COMMIT')
    await eventually('the last commit of the old primary', 20_000, async () => {
      const found = await run('sqlite3', [path.join(place.dir, PLAIN), 'SELECT count(*) FROM t'])
      return found.stdout === '2\n' || undefined
    })
  }
  await second.mount.waitForLine('plain can be written')
  await sqlite(plain, 'INSERT INTO t VALUES(3)')

  await first.start()
  await first.mount.waitForLine('existing primary found')
  await more(writer, 20)
  await Promise.all([writer.stop(), local.stop()])
  await agreeing(
    t,
    second,
    places.filter((place) => place !== second),
  )
  t.equal(await missing(t, writer, 'w', second, first), 0)
  const lost = await missing(t, local, 'v', second, first)
  t.ok(lost === 0 || (await setAside(first)).length > 0, `${lost} commits are kept aside`)
})

t.test('a primary that stands still for longer than its lease acknowledges nothing', async (t) => {
  const { first, others, primary } = await started(t)
  const still = await startWriter(t, 'still', [first])
  await more(still, 20)
  first.signal('SIGSTOP')
  const stoppedMs = Date.now()
  const second = await primary(others)
  const writer = await startWriter(t, 'w', others)
  await more(writer, 20)
  const resumedMs = Date.now()
  first.signal('SIGCONT')
  await eventually('the old primary following', 20_000, async () => {
    const { primary: seen } = await first.info()
    return seen.hostname === second.hostname || undefined
  })
  await more(writer, 20)
  await Promise.all([still.stop(), writer.stop()])
  const late = still.acknowledged.filter(({ doneMs }) => doneMs >= resumedMs)
  t.strictSame(late, [], `nothing after ${resumedMs - stoppedMs} ms`)
  await agreeing(t, second, [first])
  t.equal(await missing(t, writer, 'w', second, first), 0)
  await missing(t, still, 'still', second, first)
})

t.test('a lease store that is down for longer than a lease, and comes back', async (t) => {
  const { first, others, store, primary, places } = await started(t)
  const writer = await startWriter(t, 'w', places)
  await more(writer, 20)
  await store.stop()
  await first.mount.waitForLine('this node is the primary no more until it knows')
  const refused = await run('sqlite3', [path.join(first.dir, FILE), "INSERT INTO entry VALUES('x', 1, 0)"])
  t.not(refused.code, 0, 'nothing is acknowledged')
  const ready = await fetch(`${first.url}/health/ready`)
  t.equal(ready.status, 503)
  t.match(await ready.text(), /nobody knows whether this node is still the primary/)
  for (const other of others) t.notOk((await other.info()).isPrimary)
  await delay(500)
  await store.start()
  const second = await primary()
  await more(writer, 20)
  await writer.stop()
  await agreeing(
    t,
    second,
    places.filter((place) => place !== second),
  )
  t.equal(await missing(t, writer, 'w', second, first), 0)
  const complaints = first.mount.output().match(/cannot renew the lease/g) ?? []
  t.equal(complaints.length, 1, 'told once')
})

t.test('a node with transactions that nobody else has keeps them aside and follows', async (t) => {
  const { first, others, primary } = await started(t)
  const file = path.join(first.dir, FILE)
  await sqlite(file, "INSERT INTO entry VALUES('all', 1, 0)")
  await agreeing(t, first, others)
  for (const other of others) await other.mount.kill('SIGKILL')
  await sqlite(file, "INSERT INTO entry VALUES('alone', 1, 0); INSERT INTO entry VALUES('alone', 2, 0)")
  await first.mount.kill('SIGKILL')
  for (const other of others) await other.start()
  const second = await primary(others)
  await sqlite(path.join(second.dir, FILE), "INSERT INTO entry VALUES('after', 1, 0)")
  await first.start()
  await first.mount.waitForLine('its own transactions are kept in')
  await agreeing(t, second, [first])
  t.equal((await entriesOf(first, 'alone')).size, 0)
  t.equal((await entriesOf(first, 'after')).size, 1)
  t.equal((await setAside(first)).length, 1, 'and what it had is kept')
})

t.test('a cluster that has ended as a whole goes on from its last primary, whoever starts first', async (t) => {
  const { places } = await startCluster(t, 2, 15_000)
  const [first, other] = places
  if (first === undefined || other === undefined) throw new Error('two nodes')
  await createLog(first)
  await agreeing(t, first, [other])
  await other.mount.stop()
  await sqlite(path.join(first.dir, FILE), "INSERT INTO entry VALUES('alone', 1, 0)")
  await first.mount.stop()
  await other.start()
  await other.mount.waitForLine('waits a moment for n1, which may be ahead of it')
  await first.start()
  await first.mount.waitForLine('primary lease acquired')
  await agreeing(t, first, [other])
  t.equal((await entriesOf(other, 'alone')).size, 1)
  t.strictSame([...(await setAside(first)), ...(await setAside(other))], [])
})

t.test('a node ends although readers are in the way of what it follows', async (t) => {
  const { first, others, primary } = await started(t)
  const [other, third] = others
  if (other === undefined || third === undefined) throw new Error('three nodes')
  const readers = await startReaders(t, first, [other])
  t.equal(await other.mount.stop(), 0)
  await readers.get(other)?.kill()
  await other.start()
  await inSync(t, { primary: (await primary()).mount, replica: other.mount }, PLAIN)
})
