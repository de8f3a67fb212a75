// What only Consul has: LiteFS' nodes beside ours, tokens, prefixes, https.
import t from 'tap'
import { ConsulLeaser, type ConsulOptions } from '../../src/lease/consul-leaser.js'
import { makeCertificates } from '../servers/certificates.js'
import { startConsul } from '../servers/consul.js'
import { node } from './backends.js'

const signal = new AbortController().signal
const MASTER = 'f1e2d3c4-0000-4000-8000-000000000000'
const TOKEN = 'a1b2c3d4-0000-4000-8000-000000000001'

function leaserAt(url: string, options: Partial<ConsulOptions> = {}): ConsulLeaser {
  const leaser = new ConsulLeaser({ url, key: 'primary', ttlMs: 15_000, lockDelayMs: 0, tls: undefined, ...options })
  t.teardown(() => leaser.close())
  return leaser
}

/** What LiteFS' consul.go has Go's client do, request by request. */
function liteFsNode(origin: string, token = '') {
  const call = async (path: string, body?: string) => {
    const init = { method: 'PUT', headers: { 'x-consul-token': token }, ...(body !== undefined && { body }) }
    const answer = await fetch(`${origin}/v1/${path}`, body === undefined && path.startsWith('kv/') ? {} : init)
    return { status: answer.status, json: JSON.parse((await answer.text()) || 'null') }
  }
  const value = '{"hostname":"go","advertise-url":"http://go:20202"}'
  return {
    acquire: async () => {
      const session = {
        Name: 'litefs',
        LockDelay: '1000ms',
        Behavior: 'delete',
        TTL: '10s',
        Checks: [],
        NodeChecks: [],
      }
      const { ID: id } = (await call('session/create', JSON.stringify(session))).json
      return (await call(`kv/primary?acquire=${id}`, value)).json === true ? String(id) : undefined
    },
    acquireExisting: async (id: string) => {
      const isRenewed = (await call(`session/renew/${id}`, '')).status === 200
      return isRenewed && (await call(`kv/primary?acquire=${id}`, value)).json === true
    },
    renew: async (id: string) => (await call(`session/renew/${id}`, '')).status === 200,
    close: async (id: string) => {
      await call(`kv/primary?release=${id}`, '')
      await call(`session/destroy/${id}`, '')
    },
    primaryInfo: async () => {
      const { json } = await call('kv/primary')
      return json === null || json[0].Value === null
        ? undefined
        : JSON.parse(Buffer.from(json[0].Value, 'base64').toString())
    },
  }
}

t.test('nodes of LiteFS share the lease', async (t) => {
  const { port } = await startConsul(t)
  const origin = `http://127.0.0.1:${port}`
  const [ours, theirs] = [leaserAt(origin), liteFsNode(origin)]
  const first = await theirs.acquire()
  t.ok(first)
  t.strictSame(await ours.primary(signal), {
    hostname: 'go',
    advertiseUrl: 'http://go:20202',
    nodeId: undefined,
    epoch: undefined,
  })
  t.equal(await ours.acquire(node('one'), 0n, signal), undefined)
  const taken = await ours.takeOver(first ?? '', node('one'), 0n, signal)
  t.equal(taken?.ttlMs, 10_000, "handed over by LiteFS, with its session's TTL")
  t.match(await theirs.primaryInfo(), { hostname: 'one', 'advertise-url': 'http://one:20202' })
  t.equal(await taken?.renew(signal), true)

  t.equal(await theirs.acquireExisting(taken?.id ?? ''), true, 'handed over to LiteFS')
  t.equal(await taken?.renew(signal), false)
  await taken?.release(signal)
  t.equal(await theirs.renew(first ?? ''), true, 'which keeps it')
  t.equal((await ours.primary(signal))?.hostname, 'go')
  await theirs.close(first ?? '')
  t.equal(await ours.primary(signal), undefined, 'the empty key that LiteFS leaves behind names nobody')
  const lease = await ours.acquire(node('one'), 0n, signal)
  t.equal(lease?.epoch, 2n)
  t.equal(await theirs.acquire(), undefined)
  await lease?.release(signal)
  t.equal(await theirs.primaryInfo(), undefined)
  t.ok(await theirs.acquire(), 'without a lock-delay')
})

t.test('a token and a prefix', async (t) => {
  const acl = { enabled: true, default_policy: 'deny', tokens: { master: MASTER, agent: MASTER } }
  const { port } = await startConsul(t, { acl })
  const asMaster = async (path: string, body: object) => {
    const headers = { 'x-consul-token': MASTER }
    const answer = await fetch(`http://127.0.0.1:${port}/v1/${path}`, {
      method: 'PUT',
      headers,
      body: JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(`Cannot set up Consul: ${await answer.text()}`)
  }
  const rules =
    'key_prefix "app/" {policy="write"} session_prefix "" {policy="write"} node_prefix "app/" {policy="write"}'
  await asMaster('acl/policy', { Name: 'litefs', Rules: rules })
  await asMaster('acl/token', { SecretID: TOKEN, Policies: [{ Name: 'litefs' }] })
  const leaser = leaserAt(`http://:${TOKEN}@127.0.0.1:${port}/app`)
  const lease = await leaser.acquire(node('one'), 0n, signal)
  t.equal(await lease?.renew(signal), true)
  const headers = { 'x-consul-token': MASTER }
  const sessions = await fetch(`http://127.0.0.1:${port}/v1/session/node/app%2Flitefs`, { headers })
  t.match(await sessions.json(), [{ ID: lease?.id, Behavior: 'delete', Name: 'litefs', Node: 'app/litefs' }])
  const keys = await fetch(`http://127.0.0.1:${port}/v1/kv/app/primary?keys`, { headers })
  t.strictSame(await keys.json(), ['app/primary', 'app/primary/epoch'])
  t.equal(await leaser.swapClusterId(undefined, 'LFSC0000000000000001', signal), true)
  await leaser.announce(node('one'), signal)
  t.equal((await leaser.candidates(signal)).length, 1)

  const remedy =
    /^Cannot .*Consul at http:\/\/127.0.0.1:\d+ answers 40[39]: .*(Permission denied|ACL not found).*lease.consul.url, needs key:write/s
  const elsewhere = leaserAt(`http://:${TOKEN}@127.0.0.1:${port}/other`)
  await t.rejects(elsewhere.acquire(node('one'), 0n, signal), remedy)
  await t.rejects(elsewhere.primary(signal), remedy)
  const unknown = leaserAt(`http://:wrong-token@127.0.0.1:${port}/app`)
  const calls: (() => Promise<unknown>)[] = [
    () => unknown.acquire(node('two'), 0n, signal),
    () => unknown.primary(signal),
    () => unknown.clusterId(signal),
  ]
  for (const call of calls) {
    const error = await call().then(
      () => new Error('it was let in'),
      (reason: Error) => reason,
    )
    t.match(error.message, remedy)
    t.notMatch(error.message, /wrong-token/, 'no token in messages')
  }
})

t.test('a TTL that Consul does not take', async (t) => {
  const { port } = await startConsul(t, { session_ttl_min: '10s' })
  const leaser = leaserAt(`http://127.0.0.1:${port}`, { ttlMs: 2000 })
  await t.rejects(leaser.acquire(node('one'), 0n, signal), /Invalid Session TTL.*must be between \[10s/)
})

t.test('https, with an authority of its own', async (t) => {
  const [certificate] = await makeCertificates(t)
  const { tlsPort } = await startConsul(t, {}, certificate)
  const url = `https://localhost:${tlsPort}`
  await t.rejects(leaserAt(url).primary(signal), /Cannot read key primary.*(self-signed|unable to get|certificate)/)
  const pem = certificate?.pem
  const lease = await leaserAt(url, { tls: { ca: pem?.ca, cert: undefined, key: undefined } }).acquire(
    node('one'),
    0n,
    signal,
  )
  t.equal(await lease?.renew(signal), true)
})
