// One suite over each lease store. What a store holds is read and written by its own API, not by our code.
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Lease, Leaser } from '../../src/lease/leaser.js'
import { monotonicMs } from '../../src/monotonic.js'
import { type Backend, backends, KEY, type LeaseStore, node, TTL_MS } from './backends.js'

const signal = new AbortController().signal
/** A TTL that no test outlasts. */
const LONG_MS = 60_000

t.jobs = backends.length
for (const backend of backends) {
  t.test(backend.name, { buffered: true }, async (t) => {
    const store = await backend.start(t)
    await t.test('one node has the lease, and the others hear who', (t) => competes(t, store))
    await t.test('a lease is kept by renewals, and without them another node gets it, not before', (t) =>
      expires(t, store, backend),
    )
    await t.test('a lease can be handed over', (t) => handsOver(t, store))
    await t.test('a change of the primary is heard of at once', (t) => notices(t, store))
    await t.test('the cluster id is written once', (t) => namesCluster(t, store))
    await t.test('candidates are there while they say so', (t) => announces(t, store, backend))
    await t.test('keys that others spoiled', (t) => survivesOthers(t, store))
    await t.test('a store that loses its data', (t) => losesData(t, store))
  })
}

async function acquired(leaser: Leaser, name: string, above = 0n): Promise<Lease> {
  const lease = await leaser.acquire(node(name), above, signal)
  if (lease === undefined) throw new Error(`Cannot go on: ${name} got no lease`)
  return lease
}

/** Asks until there is a lease. Gives it with the time of the call that got it. */
async function acquiredInTime(leaser: Leaser, name: string, limitMs: number): Promise<{ lease: Lease; atMs: number }> {
  for (const until = monotonicMs() + limitMs; monotonicMs() < until; await setTimeout(50)) {
    const lease = await leaser.acquire(node(name), 0n, signal)
    if (lease !== undefined) return { lease, atMs: monotonicMs() }
  }
  throw new Error(`Cannot go on: ${name} got no lease in ${limitMs} ms`)
}

async function competes(t: Test, store: LeaseStore): Promise<void> {
  const leasers = Array.from({ length: 5 }, () => store.leaser({ ttlMs: LONG_MS }))
  const before = monotonicMs()
  const leases = await Promise.all(leasers.map((leaser, i) => leaser.acquire(node(`n${i}`), 0n, signal)))
  const winner = leases.findIndex((lease) => lease !== undefined)
  t.equal(leases.filter((lease) => lease !== undefined).length, 1, 'one of five')
  const lease = leases[winner]
  const [one, two] = leasers
  if (lease === undefined || one === undefined || two === undefined) throw new Error('Cannot go on without a lease')
  t.ok(lease.renewedAtMs >= before && lease.renewedAtMs < monotonicMs(), 'it counts from before the request')
  t.strictSame(await two.primary(signal), { ...node(`n${winner}`), epoch: lease.epoch })
  t.match(JSON.parse((await store.read(KEY)) ?? ''), {
    hostname: `n${winner}`,
    'advertise-url': `http://n${winner}:20202`,
  })
  await lease.release(signal)
  t.equal(await two.primary(signal), undefined)
  t.equal(await lease.renew(signal), false)
  const next = await acquired(two, 'next', 0n)
  t.equal(next.epoch, lease.epoch + 1n, 'at once, under the next epoch')
  await lease.release(signal)
  t.equal(await next.renew(signal), true, 'a lease that is over releases nothing')
  await next.release(signal)
  const known = await acquired(one, 'known', 1000n)
  t.equal(known.epoch, 1001n, 'above what the node knows')
  t.equal(known.soleFromMs, known.renewedAtMs + known.ttlMs, 'of which the store knows nothing')
  t.equal(next.soleFromMs, 0)
  await known.release(signal)
}

async function expires(t: Test, store: LeaseStore, { slackMs }: Backend): Promise<void> {
  const lease = await acquired(store.leaser(), 'old')
  const other = store.leaser()
  for (const until = monotonicMs() + TTL_MS * 1.5; monotonicMs() < until; await setTimeout(TTL_MS / 4)) {
    t.equal(await other.acquire(node('new'), 0n, signal), undefined)
    t.equal(await lease.renew(signal), true)
  }
  const { lease: next, atMs } = await acquiredInTime(other, 'new', TTL_MS + slackMs + 2000)
  const tookMs = atMs - lease.renewedAtMs
  t.ok(tookMs >= lease.ttlMs, `not before it ran out, after ${Math.round(tookMs)} ms`)
  t.ok(tookMs <= lease.ttlMs + slackMs + 500, `within TTL and lock-delay, after ${Math.round(tookMs)} ms`)
  t.ok(next.epoch > lease.epoch)
  const { renewedAtMs } = lease
  t.equal(await lease.renew(signal), false)
  t.equal(lease.renewedAtMs, renewedAtMs, 'a renewal that failed does not count')
  await next.release(signal)
}

async function handsOver(t: Test, store: LeaseStore): Promise<void> {
  const [from, to, third] = [store.leaser({ ttlMs: 5000 }), store.leaser({ ttlMs: LONG_MS }), store.leaser()]
  // Consul may have given out the lease of before a moment ahead of its lock-delay, which begins all the same.
  const { lease } = await acquiredInTime(from, 'from', 5000)
  const taken = await to.takeOver(lease.id, node('to'), lease.epoch, signal)
  if (taken === undefined) throw new Error('Cannot go on: nothing was taken over')
  t.equal(taken.epoch, lease.epoch + 1n)
  t.equal(taken.ttlMs, 5000, "the old holder's TTL goes on")
  t.strictSame(await third.primary(signal), { ...node('to'), epoch: taken.epoch })
  t.equal(await lease.renew(signal), false, 'the old holder has it no more')
  await lease.release(signal)
  t.equal(await taken.renew(signal), true, 'and cannot give it up')
  t.equal(await third.acquire(node('third'), 0n, signal), undefined)
  await taken.release(signal)
  t.equal(await to.takeOver(lease.id, node('to'), 0n, signal), undefined, 'a lease that has ended')
  const next = await acquired(third, 'third')
  t.equal(await to.takeOver(lease.id, node('to'), 0n, signal), undefined, 'a lease that another follows')
  await next.release(signal)
}

async function notices(t: Test, store: LeaseStore): Promise<void> {
  const [leaser, watcher] = [store.leaser({ ttlMs: LONG_MS }), store.leaser()]
  const started = monotonicMs()
  t.equal(await watcher.changed(undefined, 300, signal), undefined)
  const tookMs = monotonicMs() - started
  t.ok(tookMs >= 290 && tookMs < 1500, `nothing new within 300 ms, after ${Math.round(tookMs)} ms`)

  const first = watcher.changed(undefined, 20_000, signal)
  await setTimeout(100)
  await store.write(`${KEY}/other`, 'x')
  const lease = await acquired(leaser, 'one')
  const primary = await first
  t.strictSame(primary, { ...node('one'), epoch: lease.epoch })
  t.strictSame(await watcher.changed(undefined, 20_000, signal), primary, 'what happened before is told at once')

  const second = watcher.changed(primary, 20_000, signal)
  await setTimeout(100)
  t.equal(await lease.renew(signal), true)
  const taken = await leaser.takeOver(lease.id, node('two'), 0n, signal)
  const successor = await second
  t.equal(successor?.hostname, 'two')
  const third = watcher.changed(successor, 20_000, signal)
  await setTimeout(100)
  const releasedAt = monotonicMs()
  await taken?.release(signal)
  t.equal(await third, undefined)
  t.ok(monotonicMs() - releasedAt < 1000, 'at once')

  const leaving = new AbortController()
  const fourth = watcher.changed(undefined, 20_000, leaving.signal)
  leaving.abort(new Error('stopped'))
  await t.rejects(fourth, /stopped/)
}

async function namesCluster(t: Test, store: LeaseStore): Promise<void> {
  const leasers = Array.from({ length: 4 }, () => store.leaser())
  const [leaser] = leasers
  if (leaser === undefined) throw new Error('Cannot go on without a leaser')
  t.equal(await leaser.clusterId(signal), undefined)
  const ids = leasers.map((_, i) => `LFSC000000000000000${i}`)
  const swapped = await Promise.all(leasers.map((one, i) => one.swapClusterId(undefined, ids[i], signal)))
  const winner = swapped.indexOf(true)
  t.equal(swapped.filter(Boolean).length, 1)
  t.equal(await leaser.clusterId(signal), ids[winner])
  t.equal(await store.read(`${KEY}/clusterid`), ids[winner])
  t.equal(await leaser.swapClusterId('LFSC9999999999999999', 'LFSC8888888888888888', signal), false)
  t.equal(await leaser.swapClusterId(ids[winner], 'LFSC7777777777777777', signal), true)
  t.equal(await leaser.swapClusterId('LFSC7777777777777777', undefined, signal), true)
  t.equal(await store.read(`${KEY}/clusterid`), undefined)
  t.equal(await leaser.swapClusterId(undefined, undefined, signal), true)
}

async function announces(t: Test, store: LeaseStore, { slackMs }: Backend): Promise<void> {
  const [one, two] = [store.leaser({ ttlMs: LONG_MS }), store.leaser()]
  t.strictSame(await one.candidates(signal), [])
  const announcements = await Promise.all([one.announce(node('one'), signal), two.announce(node('two'), signal)])
  const names = async () => (await one.candidates(signal)).map(({ hostname }) => hostname).sort()
  t.strictSame(await names(), ['one', 'two'])
  t.strictSame((await one.candidates(signal))[0], { ...node('one'), epoch: undefined })
  t.equal(await announcements[1].renew(signal), true)
  const until = monotonicMs() + TTL_MS + slackMs + 2000
  while ((await names()).length === 2 && monotonicMs() < until) await setTimeout(100)
  t.strictSame(await names(), ['one'], 'who does not renew vanishes')
  t.equal(await announcements[1].renew(signal), false)
  await announcements[0].withdraw(signal)
  t.strictSame(await names(), [])
}

async function survivesOthers(t: Test, store: LeaseStore): Promise<void> {
  const leaser = store.leaser({ ttlMs: LONG_MS, key: 'spoiled' })
  const lease = await acquired(leaser, 'one')
  await store.write('spoiled', undefined)
  t.equal(await lease.renew(signal), false, 'somebody removed the key: another node can have it now')
  await store.write('spoiled/epoch', 'many')
  await t.rejects(leaser.acquire(node('one'), 0n, signal), /Cannot read key spoiled\/epoch .*"many".*remove it/)
  await store.write('spoiled/epoch', '7')
  const next = await acquired(leaser, 'one')
  t.equal(next.epoch, 8n)
  await next.release(signal)
  await lease.release(signal)
}

async function losesData(t: Test, store: LeaseStore): Promise<void> {
  const leaser = store.leaser({ ttlMs: LONG_MS })
  const lease = await acquired(leaser, 'one')
  const announcement = await leaser.announce(node('one'), signal)
  await store.stop()
  await t.rejects(
    lease.renew(signal),
    /Cannot renew.*(connection refused|was cut).*lease\.(consul\.url|etcd\.endpoints)/,
  )
  await store.startEmpty()
  t.equal(await lease.renew(signal), false)
  t.equal(await announcement.renew(signal), false)
  const next = await leaser.acquire(node('two'), lease.epoch, signal)
  t.equal(next?.epoch, lease.epoch + 1n, 'the epoch goes on from what the node knows')
  await lease.release(signal)
  t.equal(await next?.renew(signal), true)
}
