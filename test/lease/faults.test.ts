// What networks and broken servers do to a lease, over each lease store: every call ends in time, says what is wrong, and works again after.
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Lease, Leaser } from '../../src/lease/leaser.js'
import { monotonicMs } from '../../src/monotonic.js'
import type { Fault } from '../servers/faulty-proxy.js'
import { backends, type LeaseStore, node } from './backends.js'

const signal = new AbortController().signal
const TTL_MS = 4000
/** Half of the TTL, and what a slow machine adds. */
const LIMIT_MS = TTL_MS / 2 + 1500

const http = (status: string, body: string) =>
  `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`

const faults: Record<string, { fault: Fault; reason: RegExp }> = {
  'no answer': { fault: 'silent', reason: /no answer within 2000 ms/ },
  'a cut connection': { fault: 'cut', reason: /the connection was cut/ },
  'too slow': { fault: { delayMs: 2500 }, reason: /no answer within 2000 ms/ },
  'no HTTP': { fault: { answer: 'SSH-2.0-OpenSSH_9.2\r\n' }, reason: /./ },
  'a page': { fault: { answer: http('200 OK', '<html>Welcome</html>') }, reason: /no JSON: "<html>Welcome/ },
  'other JSON': { fault: { answer: http('200 OK', '{"hello":[1]}') }, reason: /would not: "\{\\"hello/ },
  'an error': { fault: { answer: http('500 Oops', 'rpc error: No cluster leader') }, reason: /500.*No cluster leader/ },
  'half an answer': {
    fault: { answer: 'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{"header":' },
    reason: /the connection was cut|other side closed|terminated/,
  },
}

t.jobs = backends.length
for (const backend of backends) {
  t.test(backend.name, { buffered: true }, async (t) => {
    const store = await backend.start(t)
    await t.test('each fault, in each call', (t) => endsInTime(t, store))
    await t.test('an answer that is lost leaves nothing behind', (t) => losesAnswers(t, store))
    await t.test('a store that is not there at start, and goes', (t) => comesAndGoes(t, store))
  })
}

async function endsInTime(t: Test, store: LeaseStore): Promise<void> {
  const leaser = store.leaser({ ttlMs: TTL_MS * 15, key: 'held' })
  const held = store.leaser({ ttlMs: TTL_MS, viaProxy: true, key: 'held' })
  const lease = await held.acquire(node('one'), 0n, signal)
  if (lease === undefined) throw new Error('Cannot go on without a lease')
  const calls: Record<string, () => Promise<unknown>> = {
    acquire: () => held.acquire(node('two'), 0n, signal),
    renew: () => lease.renew(signal),
    primary: () => held.primary(signal),
    changed: () => held.changed(undefined, 500, signal),
    clusterId: () => held.clusterId(signal),
    candidates: () => held.candidates(signal),
    announce: () => held.announce(node('two'), signal),
  }
  for (const [name, { fault, reason }] of Object.entries(faults)) {
    store.proxy.fault = fault
    const begunMs = monotonicMs()
    const failures = await Promise.all(
      Object.entries(calls).map(async ([call, run]) => {
        const error = await run().then(
          (value) => new Error(`it gave ${String(value)}`),
          (error: Error) => error,
        )
        return { call, message: error.message, tookMs: monotonicMs() - begunMs }
      }),
    )
    store.proxy.fault = 'none'
    for (const { call, message, tookMs } of failures) {
      t.match(message, reason, `${call} with ${name}`)
      t.match(message, /^Cannot .*(Consul|etcd).*lease\.(consul\.url|etcd\.endpoints)/)
      t.ok(tookMs < LIMIT_MS * 2, `${call} with ${name} ends in time, after ${Math.round(tookMs)} ms`)
    }
    await renewed(t, lease, leaser, name)
  }
  await lease.release(signal)
}

/** The lease was not lost, or the faults took longer than its TTL: then it is taken anew. */
async function renewed(t: Test, lease: Lease, leaser: Leaser, name: string): Promise<void> {
  const isKept = await lease.renew(signal)
  const primary = await leaser.primary(signal)
  t.equal(isKept, primary?.epoch === lease.epoch, `${name}: what the lease says agrees with the store`)
}

async function losesAnswers(t: Test, store: LeaseStore): Promise<void> {
  const broken = store.leaser({ ttlMs: TTL_MS * 15, viaProxy: true, key: 'lost' })
  const other = store.leaser({ ttlMs: TTL_MS, key: 'lost' })
  store.proxy.fault = 'answer-lost'
  await t.rejects(broken.acquire(node('one'), 0n, signal), /the connection was cut/)
  await t.rejects(broken.swapClusterId(undefined, 'LFSC0000000000000001', signal), /the connection was cut/)
  store.proxy.fault = 'none'
  const lease = await other.acquire(node('two'), 0n, signal)
  t.ok(lease, 'nobody has the lease')
  store.proxy.fault = 'answer-lost'
  const handed = broken.takeOver(lease?.id ?? '', node('one'), 0n, signal)
  await t.rejects(handed, /the connection was cut/)
  store.proxy.fault = 'none'
  const taken = await broken.takeOver(lease?.id ?? '', node('one'), 0n, signal)
  t.equal(taken?.epoch, (lease?.epoch ?? 0n) + 1n, 'what failed was not half done')
  await taken?.release(signal)
}

async function comesAndGoes(t: Test, store: LeaseStore): Promise<void> {
  await store.stop()
  const leaser = store.leaser({ ttlMs: TTL_MS * 15, key: 'late' })
  await t.rejects(leaser.acquire(node('one'), 0n, signal), /connection refused \(is that where it runs\?/)
  await t.rejects(leaser.changed(undefined, 1000, signal), /connection refused/)
  await store.start()
  const lease = await leaser.acquire(node('one'), 0n, signal)
  if (lease === undefined) throw new Error('Cannot go on without a lease')
  const waiting = leaser.changed(await leaser.primary(signal), 20_000, signal)
  // It must have asked before the store goes.
  await setTimeout(300)
  const begunMs = monotonicMs()
  await Promise.all([store.stop(), t.rejects(waiting, /(cut|ended its answer|refused|terminated|closed)/)])
  t.ok(monotonicMs() - begunMs < 2000, 'a waiting call hears at once that the store has gone')
  await t.rejects(lease.renew(signal), /connection refused|was cut/)
  await store.start()
}
