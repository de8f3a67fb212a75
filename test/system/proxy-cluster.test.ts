// Three nodes with a lease in etcd and the guestbook behind the proxy of each, replicas that are held back, a primary that hands over and one
// that is killed, all under users who ask any node. LITEFS_TEST_ROUNDS=20 makes it long.
import { once } from 'node:events'
import http from 'node:http'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { freePort } from '../servers/ports.js'
import { agreeing, type Cluster, FILE, type Place, startCluster } from './clusters.js'
import { sqlite } from './judges.js'
import { applierOf, eventually, linesSince } from './replicas.js'
import { roundsOf, seededRandom } from './rounds.js'
import { type Failure, type Post, type Visited, Visitors } from './visitors.js'

needsMounting()
t.setTimeout(60 * 60_000)

const GUESTBOOK = fileURLToPath(new URL('../../examples/guestbook/guestbook.js', import.meta.url))
const ROUNDS = roundsOf(1)
const USERS = 8
/** Longer than a busy machine keeps a node from renewing its lease, milliseconds. */
const LEASE_MS = 4000
const HELD_MS = 100
/** What a slow user takes, milliseconds: half of what a handover waits for. */
const SLOW_MS = 1000
/** Of traffic between two events, milliseconds. */
const PAUSE_MS = 1200

const random = seededRandom(t)

interface Served extends Cluster {
  readonly nodes: readonly Visited[]
}

async function serving(t: Test): Promise<Served> {
  const ports = new Map<string, { addr: number; target: number }>()
  for (const name of ['n1', 'n2', 'n3']) ports.set(name, { addr: await freePort(), target: await freePort() })
  const of = (hostname: string) => ports.get(hostname) ?? { addr: 0, target: 0 }
  const urlOf = (hostname: string) => `http://127.0.0.1:${of(hostname).addr}`
  const cluster = await startCluster(t, ports.size, LEASE_MS, 'etcd', ({ hostname, dir }) => {
    const { addr, target } = of(hostname)
    const proxy = {
      addr: `127.0.0.1:${addr}`,
      target: `127.0.0.1:${target}`,
      db: FILE,
      'advertise-url': urlOf(hostname),
      'primary-redirect-timeout': '20s',
    }
    const env = [`PORT=${target}`, `DATABASE=${path.join(dir, FILE)}`]
    return { configExtra: { proxy }, args: ['--', 'env', ...env, process.execPath, GUESTBOOK] }
  })
  const nodes = cluster.places.map(({ hostname }) => ({ hostname, url: urlOf(hostname) }))
  for (const { mount } of cluster.places) await mount.waitForLine('proxy server listening on: ')
  await fetch(nodes[0]?.url ?? '', { method: 'POST', body: 'name=first&said=hello', redirect: 'manual' })
  await eventually('the first post in every guestbook', 20_000, async () => {
    const found = await Promise.all(nodes.map(async ({ url }) => (await fetch(`${url}/newest?name=first`)).text()))
    return found.every((said) => said === 'hello') || undefined
  })
  return { ...cluster, nodes }
}

/** Holds the appliers of those who run back, again and again, until the signal is aborted. */
async function holdBack(places: readonly Place[], signal: AbortSignal): Promise<void> {
  const signalled = (pid: number, name: NodeJS.Signals) => {
    try {
      process.kill(pid, name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  const hold = async (place: Place) => {
    while (!signal.aborted) {
      // A primary needs none, and a node that is killed has none.
      const pid = await applierOf(place.mount).catch(() => undefined)
      if (pid !== undefined) signalled(pid, 'SIGSTOP')
      await delay(random(HELD_MS))
      if (pid !== undefined) signalled(pid, 'SIGCONT')
      await delay(random(HELD_MS))
    }
  }
  await Promise.all(places.map(hold))
}

interface Outage {
  readonly hostname: string
  readonly killedMs: number
  readonly deadMs: number
  /** When there was another primary that takes posts. */
  readonly leadMs: number
  readonly backMs: number
}

/** A post whose head the guestbook of a node has, and whose body is not all there yet; gives how to end it. */
async function slowPost(url: string, said: string): Promise<() => Promise<number | undefined>> {
  const body = `name=slow&said=${said}`
  const headers = { 'content-length': body.length, expect: '100-continue' }
  const request = http.request(url, { method: 'POST', headers })
  request.flushHeaders()
  await once(request, 'continue')
  request.write(body.slice(0, 5))
  return async () => {
    request.end(body.slice(5))
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    response.resume()
    return response.statusCode
  }
}

/** The node that hands over is at work on a post meanwhile; gives its status. */
async function handOver({ places, nodes, primary }: Served, said: string): Promise<number | undefined> {
  const old = await primary()
  const others = places.filter((place) => place !== old)
  const to = others[random(others.length)]
  if (to === undefined) throw new Error('three nodes')
  const begun = old.mount.output().length
  const end = await slowPost(nodes[places.indexOf(old)]?.url ?? '', said)
  const promoted = to.post('/promote')
  await eventually('the handover', 5000, async () => linesSince(old.mount, begun, 'hands over to')[0])
  await delay(SLOW_MS)
  const status = await end()
  const answer = await promoted
  if (answer.status !== 200) throw new Error(`Cannot promote ${to.hostname}: ${answer.status} ${answer.text}`)
  return status
}

async function killPrimary({ places, primary }: Served, visitors: Visitors): Promise<Outage> {
  const old = await primary()
  const { hostname, mount } = old
  const killedMs = Date.now()
  await mount.kill('SIGKILL')
  const deadMs = Date.now()
  await primary(places.filter((place) => place !== old))
  const leadMs = await eventually('a post on the new primary', 20_000, async () => {
    return visitors.acknowledged.findLast(({ begunMs }) => begunMs > killedMs)?.doneMs
  })
  await delay(PAUSE_MS / 2)
  // Its guestbook goes on without a mount, at the port that the next one needs.
  process.kill(-mount.pid, 'SIGKILL')
  await old.start()
  await old.mount.waitForLine('proxy server listening on: ')
  return { hostname, killedMs, deadMs, leadMs, backMs: Date.now() }
}

/** What a killed primary excuses: those who asked it or waited for it, and those who look for what it took with it. */
function isExcused({ what, node, why, begunMs, after }: Failure, lost: ReadonlySet<string>, outage: Outage): boolean {
  const { hostname, killedMs, deadMs, leadMs, backMs } = outage
  const isAtIt = node === hostname && begunMs <= backMs
  if (isAtIt && /^(?:ECONNREFUSED|ECONNRESET|UND_ERR_SOCKET)$/.test(why))
    return begunMs >= killedMs || why !== 'ECONNREFUSED'
  if (what === 'post') return why === '502' && begunMs <= deadMs
  if (lost.has(after)) return why === '200' || why === '504'
  return why === '504' && begunMs <= leadMs
}

function counted(failures: readonly Failure[]): string {
  const counts = new Map<string, number>()
  for (const { what, why } of failures) counts.set(`${what} ${why}`, (counts.get(`${what} ${why}`) ?? 0) + 1)
  return [...counts].map(([name, count]) => `${count} ${name}`).join(', ') || 'none'
}

t.test('users read their own writes whatever becomes of the primary', async (t) => {
  const cluster = await serving(t)
  const { places, nodes, primary } = cluster
  const visitors = new Visitors({ users: USERS, nodes, random })
  const stop = new AbortController()
  const holding = holdBack(places, stop.signal)
  t.teardown(() => stop.abort())
  const outages: Outage[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await delay(PAUSE_MS)
    const before = visitors.failures.length
    t.equal(await handOver(cluster, `slowly${round}`), 303, 'what the application is at work on is waited for')
    await delay(PAUSE_MS)
    t.strictSame(visitors.failures.slice(before), [], 'a handover costs nobody a request')
    outages.push(await killPrimary(cluster, visitors))
    await delay(PAUSE_MS)
  }
  await visitors.stop()
  stop.abort()
  await holding

  const now = await primary()
  await agreeing(
    t,
    now,
    places.filter((place) => place !== now),
  )
  const rows = (await sqlite(path.join(now.dir, FILE), 'SELECT said FROM posts')).split('\n').filter(Boolean)
  const kept = new Set(rows)
  t.equal(rows.length, kept.size, 'no post is there twice')
  const lost = visitors.acknowledged.filter(({ said }) => !kept.has(said))
  const isAsynchronous = ({ begunMs }: Post) =>
    outages.some(({ killedMs, deadMs }) => begunMs <= deadMs && begunMs > killedMs - 1000)
  t.ok(lost.every(isAsynchronous), 'only posts of a primary that was killed at that moment are missing')
  const names = new Set(lost.map(({ said }) => said))
  const problems = visitors.failures.filter((failure) => !outages.some((outage) => isExcused(failure, names, outage)))
  t.strictSame(problems, [], 'no wrong answer, and no failed request that nothing excuses')
  t.ok(visitors.staleReads > 0, 'without cookie and header replicas are behind, and this test can see it')
  t.comment(
    `${visitors.requests} requests: ${visitors.acknowledged.length} posts, ${visitors.reads} reads of one's own, ` +
      `${visitors.bareReads} without cookie, ${visitors.staleReads} of them stale`,
  )
  t.comment(
    `${outages.length} primaries killed: ${lost.length} acknowledged posts were not sent, failed: ${counted(visitors.failures)}`,
  )
})
