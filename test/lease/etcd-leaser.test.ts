// What only etcd has: users and passwords, several endpoints, client certificates.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { EtcdLeaser, type EtcdOptions } from '../../src/lease/etcd-leaser.js'
import { makeCertificates } from '../servers/certificates.js'
import { startEtcd } from '../servers/etcd.js'
import { startFaultyProxy } from '../servers/faulty-proxy.js'
import { freePorts } from '../servers/ports.js'
import { node } from './backends.js'

const signal = new AbortController().signal

function leaserAt(endpoints: string[], options: Partial<EtcdOptions> = {}): EtcdLeaser {
  const defaults = { key: 'app/primary', ttlMs: 15_000, username: '', password: '', tls: undefined }
  const leaser = new EtcdLeaser({ endpoints, ...defaults, ...options })
  t.teardown(() => leaser.close())
  return leaser
}

t.test('a user with a password, whose tokens end', async (t) => {
  const etcd = await startEtcd(t)
  const call = async (path: string, body: object) => {
    const answer = await fetch(`${etcd.url}/v3/auth/${path}`, { method: 'POST', body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`Cannot set up etcd: ${await answer.text()}`)
  }
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const early = leaserAt([etcd.url], { username: 'app', password: 'open sesame' })
  t.equal(await early.primary(signal), undefined, 'credentials that etcd does not ask for yet')
  await early.close()
  await call('user/add', { name: 'root', password: 'root' })
  await call('user/grant', { user: 'root', role: 'root' })
  await call('user/add', { name: 'app', password: 'open sesame' })
  await call('role/add', { name: 'app' })
  const permission = { permType: 'READWRITE', key: base64('app/'), range_end: base64('app0') }
  await call('role/grant', { name: 'app', perm: permission })
  await call('user/grant', { user: 'app', role: 'app' })
  await call('enable', {})

  const user = { username: 'app', password: 'open sesame' }
  const leaser = leaserAt([etcd.url], user)
  const lease = await leaser.acquire(node('one'), 0n, signal)
  t.equal(await lease?.renew(signal), true)
  await leaser.announce(node('one'), signal)
  t.equal((await leaser.candidates(signal)).length, 1)
  const waiting = leaser.changed(undefined, 10_000, signal)
  t.equal((await waiting)?.hostname, 'one')
  await etcd.stop()
  await etcd.start()
  t.equal(await lease?.renew(signal), true, 'etcd has forgotten the token with its restart, not the lease')
  const change = leaser.changed(await leaser.primary(signal), 10_000, signal)
  await setTimeout(200)
  await lease?.release(signal)
  t.equal(await change, undefined)

  const remedy = /^Cannot .*etcd at .* answers 40\d: .*lease.etcd.username and password/
  await t.rejects(leaserAt([etcd.url]).primary(signal), remedy)
  await t.rejects(leaserAt([etcd.url], { ...user, key: 'other' }).acquire(node('one'), 0n, signal), remedy)
  const wrong = leaserAt([etcd.url], { ...user, password: 'open barley' })
  const error = await wrong.primary(signal).then(
    () => new Error('it was let in'),
    (reason: Error) => reason,
  )
  t.match(error.message, remedy)
  t.notMatch(error.message, /barley/, 'no password in messages')
})

t.test('one endpoint of several will do', async (t) => {
  const etcd = await startEtcd(t)
  const [dead = 0] = await freePorts(1)
  const proxy = await startFaultyProxy(t, etcd.port)
  const broken = `http://127.0.0.1:${proxy.port}`
  const one = leaserAt([`http://127.0.0.1:${dead}`, broken, etcd.url])
  proxy.fault = 'answer-lost'
  const lease = await one.acquire(node('one'), 0n, signal)
  t.equal(await lease?.renew(signal), true)
  t.equal(proxy.connectionCount, 1, 'who answered is asked first from then on')

  // Each transaction is done by the first endpoint, whose answer is lost, and asked of the second again.
  const two = () => leaserAt([broken, etcd.url], { key: 'app/second' })
  proxy.fault = { loseAnswerTo: '/v3/kv/txn' }
  const second = await two().acquire(node('two'), 0n, signal)
  t.equal(second?.epoch, 1n)
  t.equal(await second?.renew(signal), true)
  t.equal(await two().swapClusterId(undefined, 'LFSC0000000000000001', signal), true)
  const third = await two().takeOver(second?.id ?? '', node('three'), 0n, signal)
  t.equal(third?.epoch, 2n)
  t.equal(await third?.renew(signal), true)
  t.ok(proxy.connectionCount >= 4, 'each was asked for there first')
  await third?.release(signal)
  t.equal(await two().primary(signal), undefined)
  proxy.fault = 'silent'
  const begunMs = Date.now()
  t.equal(await two().primary(signal), undefined)
  t.ok(Date.now() - begunMs < 4000, 'a silent endpoint gets its share of the time')

  await etcd.stop()
  const everyReason = /no etcd server answers: .*: the connection was cut; http.*refused.*lease.etcd.endpoints/
  await t.rejects(two().primary(signal), everyReason)
})

t.test('a certificate that etcd asks for', async (t) => {
  const [server, client] = await makeCertificates(t, 2)
  const etcd = await startEtcd(t, server)
  const ca = server?.pem.ca
  const anonymous = leaserAt([etcd.url], { tls: { ca, cert: undefined, key: undefined } })
  await t.rejects(anonymous.primary(signal), /Cannot read key app\/primary: etcd at https:/)
  const lease = await leaserAt([etcd.url], { tls: client?.pem }).acquire(node('one'), 0n, signal)
  t.equal(await lease?.renew(signal), true)
})

/** In front of a real etcd: whoever renews a lease is answered by a leader of an earlier term while `isDeposed`. Gives its address. */
async function behindDeposed(t: Test, url: string, state: { isDeposed: boolean }): Promise<string> {
  const server = createServer(async (request, response) => {
    const answer = await fetch(`${url}${request.url}`, { method: 'POST', body: await text(request) })
    const json = await answer.text()
    const isOld = state.isDeposed && request.url === '/v3/lease/keepalive'
    response.writeHead(answer.status, { 'content-type': 'application/json' })
    response.end(isOld ? json.replace(/"raft_term":"\d+"/, '"raft_term":"1"') : json)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('a renewal by a leader that was deposed counts for nothing', async (t) => {
  const etcd = await startEtcd(t)
  const state = { isDeposed: false }
  const leaser = leaserAt([await behindDeposed(t, etcd.url, state)])
  const lease = await leaser.acquire(node('one'), 0n, signal)
  if (lease === undefined) throw new Error('Cannot go on without a lease')
  t.equal(await lease.renew(signal), true)
  const { renewedAtMs } = lease
  state.isDeposed = true
  const refused = /Cannot renew the lease: etcd has chosen another leader meanwhile/
  await t.rejects(lease.renew(signal), refused)
  t.equal(lease.renewedAtMs, renewedAtMs)
  await t.rejects(leaser.takeOver(lease.id, node('two'), 0n, signal), refused)
  state.isDeposed = false
  t.equal(await lease.renew(signal), true)
  await lease.release(signal)
})
