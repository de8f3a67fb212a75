// A lease store that is down at the start and loses its data, clocks that jump, and a node that is to be the primary as soon as it can.
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { startEtcd } from '../servers/etcd.js'
import { freePort } from '../servers/ports.js'
import { createLog, entriesOf, more, Place, startWriter } from './clusters.js'
import { FailingCalls } from './failing-calls.js'
import { litefsScript, run } from './harness.js'
import { eventually, linesSince } from './replicas.js'

const TTL_MS = 2000
const HOUR_MS = 3_600_000
const CHANGE_MS = 20_000
const JITTER_MS = 5000

needsMounting()

async function leads({ hostname, info }: Place): Promise<void> {
  await eventually(`${hostname} as primary`, CHANGE_MS, async () => (await info()).isPrimary || undefined)
}

t.test('what happens to the lease store, and to the clock', async (t) => {
  const store = await startEtcd(t)
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-trouble-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const etcd = { endpoints: [store.url], key: 'test/primary', ttl: `${TTL_MS}ms` }
  const lease = { type: 'etcd', etcd, 'reconnect-delay': '50ms' }
  const clock = await FailingCalls.build(t, path.join(base, 'n1', 'data'))
  const place = async (hostname: string, more: object, env?: NodeJS.ProcessEnv) => {
    const url = `http://127.0.0.1:${await freePort()}`
    const node = new Place(t, {
      hostname,
      url,
      base,
      lease: { ...lease, ...more },
      equip: () => ({ ...(env && { env }) }),
    })
    return Object.assign(node, { info: node.info.bind(node) })
  }
  const first = await place('n1', {}, clock.env)
  const second = await place('n2', { promote: true })

  await store.stop()
  await first.start()
  const reason = /no primary: the lease store does not answer: .*connection refused/
  await first.mount.waitForLine('no primary: the lease store does not answer')
  const ready = await fetch(`${first.url}/health/ready`)
  t.equal(ready.status, 503)
  t.match(await ready.text(), reason)
  const status = await run(process.execPath, [litefsScript, 'status', '-url', first.url])
  t.match(status.stdout, reason, 'litefs status says so too')
  await store.start()
  await leads(first)
  t.equal(linesSince(first.mount, 0, 'no primary').length, 1, 'told once')
  t.equal(linesSince(first.mount, 0, 'cannot announce').length, 1)

  await createLog(first)
  const writer = await startWriter(t, 'w', [first])
  const start = first.mount.output().length
  for (const aheadMs of [HOUR_MS, -5 * HOUR_MS, 0]) {
    clock.setClock(aheadMs)
    // Node.js looks at the clock for this header once a second.
    await eventually(`a clock ${aheadMs} ms ahead`, CHANGE_MS, async () => {
      const answer = await fetch(`${first.url}/info`)
      const seenMs = Date.parse(answer.headers.get('date') ?? '') - Date.now()
      return Math.abs(seenMs - aheadMs) < JITTER_MS || undefined
    })
    await more(writer, 30)
  }
  // Renewed at least once, after the last jump.
  await new Promise((resolve) => setTimeout(resolve, TTL_MS / 2))
  await more(writer, 30)
  await writer.stop()
  t.strictSame(writer.failures, [], 'no commit has failed')
  t.equal(first.mount.output().slice(start), '', 'and nothing was worth a line')

  await second.start()
  await second.mount.waitForLine('node is a candidate, automatically promoting to primary')
  await leads(second)
  t.equal((await entriesOf(second, 'w')).size, writer.acknowledged.length)

  const clusterId = async ({ url }: Place) => (await fetch(`${url}/info`)).headers.get('litefs-cluster-id')
  const id = await clusterId(second)
  await store.stop()
  await store.loseData()
  await store.start()
  const losses = () =>
    (first.mount.output() + second.mount.output()).match(/the lease store has lost its data/g)?.length
  await eventually('the loss told', CHANGE_MS, async () => losses())
  // Who tells of the loss may be the primary still, and either may be the next one.
  const late = await startWriter(t, 'late', [first, second])
  await more(late, 10)
  await late.stop()
  for (const node of [first, second]) {
    await eventually(`what was written then on ${node.hostname}`, CHANGE_MS, async () => {
      return (await entriesOf(node, 'late')).size === late.acknowledged.length || undefined
    })
    t.equal(await clusterId(node), id, 'of the same cluster')
  }
  t.equal(losses(), 1, 'told once')
})
