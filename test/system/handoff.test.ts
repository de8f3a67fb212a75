// The primary moves on purpose, under a writer that keeps its connections.
import path from 'node:path'
import t from 'tap'
import { needsMounting } from '../needs-mounting.js'
import {
  type Acknowledged,
  agreeing,
  createLog,
  DEMOTE_DELAY_MS,
  entriesOf,
  FILE,
  more,
  startCluster,
  startWriter,
} from './clusters.js'
import { litefsScript, run } from './harness.js'
import { sqlite } from './judges.js'
import { eventually } from './replicas.js'

/** Longer than a busy machine keeps a node from renewing its lease, milliseconds. */
const LEASE_MS = 20_000
/** From the last commit on the old primary to the first on the new one, milliseconds. On a quiet machine it is 80 to 300; nobody waits for a lease. */
const MAX_GAP_MS = 2000

needsMounting()

const litefs = (args: string[]) => run(process.execPath, [litefsScript, ...args])

function gaps(acknowledged: readonly Acknowledged[]): number[] {
  return acknowledged.flatMap((entry, i) => {
    const before = acknowledged[i - 1]
    return before === undefined || before.node === entry.node ? [] : [entry.doneMs - before.doneMs]
  })
}

t.test('promote, hand off, demote and SIGTERM', async (t) => {
  const { places, primary } = await startCluster(t, 3, LEASE_MS)
  const [first, second, third] = places
  if (first === undefined || second === undefined || third === undefined) throw new Error('three nodes')
  await createLog(first)
  await agreeing(t, first, [second, third])
  const writer = await startWriter(t, 'w', places)
  await more(writer, 50)

  t.same(await second.post('/promote'), { status: 200, text: '{\n  "done": true\n}\n' })
  t.equal((await primary()).hostname, 'n2')
  await more(writer, 50)
  t.equal(writer.acknowledged.at(-1)?.node, 'n2')
  const again = ['run', '-url', second.url, '-promote', '-if-candidate', '--', 'sh', '-c', 'echo "$0"; exit 7', 'x']
  t.match(await litefs(again), { code: 7, stdout: 'x\n', stderr: '' }, 'again changes nothing')

  const nodeId = (await fetch(`${third.url}/info`)).headers.get('litefs-id')
  t.equal((await first.post(`/handoff?nodeID=${nodeId}`)).status, 503, 'not the primary')
  t.equal((await second.post('/handoff?nodeID=AB')).status, 404, 'not connected')
  await eventually('the third on the second', 5000, async () => {
    const peers = (await (await fetch(`${second.url}/peers`)).json()) as { replicas: { nodeId: string }[] }
    return peers.replicas.some((replica) => replica.nodeId === nodeId) || undefined
  })
  t.equal((await second.post(`/handoff?nodeID=${nodeId}`)).status, 200)
  t.equal((await primary()).hostname, 'n3')
  await more(writer, 50)
  await eventually('both on the third', 5000, async () => {
    const peers = (await (await fetch(`${third.url}/peers`)).json()) as { replicas: object[] }
    return peers.replicas.length === 2 || undefined
  })

  t.match(await litefs(['demote', '-url', third.url]), { code: 0, stderr: '' })
  t.match(await litefs(['demote', '-url', third.url]), { code: 1, stderr: /this node is not the primary/ })
  t.not((await primary()).hostname, 'n3')
  await more(writer, 50)
  t.strictSame(writer.failures, [], 'no request has failed')
  const found = gaps(writer.acknowledged)
  t.comment(`gaps: ${found.join(', ')} ms`)
  t.ok(found.length >= 3 && Math.max(...found) < MAX_GAP_MS, `gaps of ${found.join(', ')} ms`)

  const leaving = await primary()
  const rest = places.filter((place) => place !== leaving)
  await eventually('two replicas', 5000, async () => {
    const peers = (await (await fetch(`${leaving.url}/peers`)).json()) as { replicas: object[] }
    return peers.replicas.length === 2 || undefined
  })
  const stopping = leaving.mount.stop()
  await primary(rest)
  t.equal(await stopping, 0)
  await more(writer, 50)
  await writer.stop()
  const now = await primary(rest)
  await agreeing(
    t,
    now,
    rest.filter((place) => place !== now),
  )
  const entries = await entriesOf(now, 'w')
  t.strictSame(
    writer.acknowledged.filter(({ seq }) => !entries.has(seq)),
    [],
    'everything acknowledged is there',
  )
  for (const { mount } of rest) t.notMatch(mount.output(), /level=ERROR/)
})

t.test('a handover with a lease in Consul', async (t) => {
  const { places, primary } = await startCluster(t, 2, LEASE_MS, 'consul')
  const [first, second] = places
  if (first === undefined || second === undefined) throw new Error('two nodes')
  await createLog(first)
  await agreeing(t, first, [second])
  const writer = await startWriter(t, 'w', places)
  await more(writer, 20)
  t.equal((await second.post('/promote')).status, 200)
  await more(writer, 20)
  await writer.stop()
  t.strictSame(writer.failures, [])
  const [gap = 0, ...others] = gaps(writer.acknowledged)
  t.strictSame(others, [])
  t.ok(gap < MAX_GAP_MS, `a gap of ${gap} ms`)
  await agreeing(t, await primary(), [first])
})

t.test('a primary that was asked to step down, and is alone, stands again after lease.demote-delay', async (t) => {
  const { places, primary } = await startCluster(t, 1, LEASE_MS)
  const [only] = places
  if (only === undefined) throw new Error('one node')
  await createLog(only)
  const askedMs = performance.now()
  t.match(await litefs(['demote', '-url', only.url]), { code: 0, stderr: '' })
  const { isPrimary } = await only.info()
  const ready = await fetch(`${only.url}/health/ready`)
  if (performance.now() - askedMs < DEMOTE_DELAY_MS) {
    t.notOk(isPrimary)
    t.match(await ready.text(), /there is no primary|stepped down/)
  }
  await primary()
  const pausedMs = performance.now() - askedMs
  t.ok(pausedMs >= DEMOTE_DELAY_MS, `primary again after ${pausedMs} ms`)
  await sqlite(path.join(only.dir, FILE), "INSERT INTO entry VALUES('after', 1, 0)")
})

t.test('a primary that ends waits for a candidate that has just started', async (t) => {
  const { places, primary } = await startCluster(t, 2, LEASE_MS)
  const [first, second] = places
  if (first === undefined || second === undefined) throw new Error('two nodes')
  await createLog(first)
  await agreeing(t, first, [second])
  await second.mount.kill('SIGKILL')
  const writer = await startWriter(t, 'w', [first])
  await more(writer, 50)
  await writer.stop()
  const { mount } = first
  await Promise.all([mount.stop(), second.start()])
  t.match(mount.output(), 'waits for n2 to have everything before it ends')
  t.match(mount.output(), 'hands over to n2 before it ends')
  t.equal((await primary([second])).hostname, 'n2')
  t.equal((await entriesOf(second, 'w')).size, writer.acknowledged.length, 'everything is there')
})

t.test(
  "a lease that was sent to a node which stands still is nobody's, and that node follows when it goes on",
  async (t) => {
    const { places, primary } = await startCluster(t, 2, LEASE_MS)
    const [first, second] = places
    if (first === undefined || second === undefined) throw new Error('two nodes')
    await createLog(first)
    await agreeing(t, first, [second])
    const nodeId = (await fetch(`${second.url}/info`)).headers.get('litefs-id')
    second.signal('SIGSTOP')
    const { status, text } = await first.post(`/handoff?nodeID=${nodeId}`)
    t.match({ status, text }, { status: 503, text: /n2 did not take the lease/ })
    t.equal((await primary([first])).hostname, 'n1')
    const writer = await startWriter(t, 'w', [first])
    await more(writer, 20)
    second.signal('SIGCONT')
    await eventually('the second following again', 20_000, async () => {
      return second.mount.output().match(/existing primary found/g)?.length === 2 || undefined
    })
    await more(writer, 20)
    await writer.stop()
    await agreeing(t, first, [second])
    t.notMatch(second.mount.output(), /primary lease acquired/)
    t.strictSame(writer.failures, [])
  },
)
