// What nodes and people ask of each other's roles, over HTTP.
import { once } from 'node:events'
import http2 from 'node:http2'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import t from 'tap'
import { RequestError } from '../../src/http/answers.js'
import { PeerAccess } from '../../src/http/peer-access.js'
import { call, standingOf } from '../../src/http/peers.js'
import { encodePositionMap } from '../../src/replication/position-map.js'
import { serve, testNode } from './node.js'

const access = new PeerAccess({ token: undefined, tls: undefined })
t.teardown(() => access.close())

t.test('promote, hand off, demote and take a lease', async (t) => {
  const node = testNode()
  const asked: string[] = []
  node.change = async (what) => void asked.push(what)
  const { url } = await serve(node)
  for (const path of ['/promote', '/handoff?nodeID=ab', '/demote', '/lease?id=x%2Fy'])
    await call(access, url, path, 5000)
  t.strictSame(asked, ['promote', 'hand off to 00000000000000AB', 'demote', 'take x/y'])
  t.equal((await fetch(`${url}/promote`)).status, 404, 'a GET changes nothing')
  await t.rejects(call(access, url, '/handoff', 5000), { message: /400: .*nodeID/ })
  await t.rejects(call(access, url, '/handoff?nodeID=../x', 5000), { message: /400: .*no node id/ })
  node.change = async () => {
    throw new RequestError(409, 'Cannot promote this node: it is no candidate')
  }
  await t.rejects(call(access, url, '/promote', 5000), { message: /409: .*no candidate/ })
  node.change = () => new Promise(() => {})
  await t.rejects(call(access, url, '/promote', 50), { name: 'TimeoutError' })
})

t.test('where a node stands', async (t) => {
  const { url } = await serve(testNode())
  t.strictSame(await standingOf(access, url, 5000), {
    clusterId: 'LFSC0123456789ABCDEF',
    isCandidate: true,
    isSynced: true,
    epoch: 3n,
    positions: new Map([['a.db', { txid: 7n, checksum: 9n }]]),
  })
  await t.rejects(standingOf(access, 'http://127.0.0.1:1', 5000), { code: 'ECONNREFUSED' })
})

t.test('an epoch goes with each stream, and a replica that has heard of a later one is refused', async (t) => {
  const node = testNode()
  node.epoch = 5n
  const { url } = await serve(node)
  const ask = async (epoch: string | undefined) => {
    const session = http2.connect(url)
    t.teardown(() => session.destroy())
    const headers = { ':method': 'POST', ':path': '/stream', 'litefs-id': '1', ...(epoch && { 'litefs-epoch': epoch }) }
    const stream = session.request(headers, { endStream: false }).end(encodePositionMap(new Map()))
    const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status'?: number }]
    const body = answer[':status'] === 200 ? '' : String(await buffer(stream))
    session.destroy()
    return { status: answer[':status'], epoch: answer['litefs-epoch'], body }
  }
  t.strictSame(await ask('5'), { status: 200, epoch: '5', body: '' })
  t.strictSame(await ask(undefined), { status: 200, epoch: '5', body: '' }, 'LiteFS says none')
  t.match(await ask('6'), { status: 503, body: /later lease/ })
  t.match(await ask('9999999999999999999'), { status: 400, body: /Litefs-Epoch, 9999999999999999999, cannot be right/ })
  t.strictSame(node.heardOf, [6n])
})

t.test('events tell of another primary', async (t) => {
  const node = testNode()
  const { url } = await serve(node)
  const stop = new AbortController()
  const { body } = await fetch(`${url}/events`, { signal: stop.signal })
  if (body === null) throw new Error('no body')
  const lines = createInterface(Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]))[
    Symbol.asyncIterator
  ]()
  t.strictSame(JSON.parse((await lines.next()).value ?? ''), { type: 'init', data: { isPrimary: true } })
  node.isPrimary = false
  for (const listener of node.roleListeners) listener()
  const { value } = await lines.next()
  t.strictSame(JSON.parse(value ?? ''), { type: 'primaryChange', data: { isPrimary: false, hostname: 'one' } })
  stop.abort()
})
