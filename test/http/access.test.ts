// Who is let in: tokens, and TLS with an authority of the test's own. Over the network, without a mount.
import { once } from 'node:events'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import { buffer } from 'node:stream/consumers'
import tls from 'node:tls'
import t from 'tap'
import { request } from 'undici'
import { PeerAccess } from '../../src/http/peer-access.js'
import { OPEN_ACCESS } from '../../src/http/server.js'
import { openStream } from '../../src/http/stream-client.js'
import { FrameDecoder } from '../../src/replication/frame-decoder.js'
import { makeCertificates } from '../servers/certificates.js'
import { serve, testNode } from './node.js'

const TOKEN = 'correct-horse-battery-staple'
const never = new AbortController().signal
const follower = { hostname: 'two', advertiseUrl: 'http://two:20202', isCandidate: true, epoch: 0n }
const STREAM = { follower, nodeId: '0000000000000001', clusterId: undefined, filter: [], silenceMs: 3000 }

async function firstFrames(url: string, access: PeerAccess): Promise<string[]> {
  const { bytes } = await openStream({ ...STREAM, url, access }, new Map(), never)
  const decoder = new FrameDecoder()
  const seen: string[] = []
  for await (const chunk of bytes) {
    for (const item of decoder.push(chunk)) seen.push(item.type)
    if (seen.length >= 2) break
  }
  return seen
}

function access(
  t: { teardown(f: () => Promise<void>): void },
  options: Partial<ConstructorParameters<typeof PeerAccess>[0]>,
) {
  const peers = new PeerAccess({ token: undefined, tls: undefined, ...options })
  t.teardown(() => peers.close())
  return peers
}

t.test('a token', async (t) => {
  const { url } = await serve(testNode(), { ...OPEN_ACCESS, token: TOKEN })
  const ask = async (method: string, path: string, authorization?: string) => {
    const headers = authorization === undefined ? {} : { authorization }
    const { statusCode, body, headers: answered } = await request(url + path, { method, headers })
    return { status: statusCode, text: await body.text(), authenticate: answered['www-authenticate'] }
  }
  const guarded = ['GET /info', 'GET /databases', 'GET /peers', 'GET /events', 'GET /export?name=a', 'GET /nothing']
  const changing = ['import?name=a', 'stream', 'promote', 'handoff', 'halt', 'tx', 'demote', 'lease'].map(
    (path) => `POST /${path}`,
  )
  changing.push('DELETE /halt?name=a&id=7')
  const wrong = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    TOKEN,
    `Basic ${TOKEN}`,
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(0, -1)}`,
  ]
  for (const call of [...guarded, ...changing, 'POST /metrics', 'GET /metrics/../info', 'GET //metrics']) {
    const [method = '', path = ''] = call.split(' ')
    for (const header of wrong) {
      const { status, text, authenticate } = await ask(method, path, header)
      t.equal(status, 401, `${call} with ${header}`)
      t.equal(authenticate, 'Bearer')
      t.match(
        JSON.parse(text).error,
        /^Cannot let you in: (no token was sent|the token is another one) \(set LITEFS_TOKEN/,
      )
    }
  }
  for (const header of [`Bearer ${TOKEN}`, `bearer  ${TOKEN} `])
    t.equal((await ask('GET', '/info', header)).status, 200)
  t.equal((await ask('GET', '/nothing', `Bearer ${TOKEN}`)).status, 404)
  for (const path of ['/metrics', '/health/live', '/health/ready', '/debug/vars']) {
    t.equal((await ask('GET', path)).status, 200, path)
  }
  const closed = await serve(testNode(), { ...OPEN_ACCESS, token: TOKEN, protectMetrics: true })
  for (const path of ['/metrics', '/health/live', '/debug/vars']) {
    t.equal((await request(closed.url + path)).statusCode, 401, path)
  }
})

t.test('a stream over HTTP/2 asks for the token', async (t) => {
  const { url } = await serve(testNode(), { ...OPEN_ACCESS, token: TOKEN })
  t.strictSame(await firstFrames(url, access(t, { token: TOKEN })), ['ready', 'heartbeat'])
  for (const token of [undefined, 'another-token-altogether']) {
    const refused = await firstFrames(url, access(t, { token })).then(String, (error: Error) => String(error.cause))
    t.match(refused, /answered 401: .*Cannot let you in/)
  }
})

t.test('TLS with an authority of its own', async (t) => {
  const [ours, client] = await makeCertificates(t, 2)
  const [stranger] = await makeCertificates(t)
  if (ours === undefined || client === undefined || stranger === undefined) throw new Error('Cannot make certificates')
  const { ca } = ours.pem
  const server = await serve(testNode(), { ...OPEN_ACCESS, tls: { ...ours.pem, clientAuth: false } })
  t.match(server.url, /^https:\/\/127\.0\.0\.1:\d+$/)

  const trusting = access(t, { tls: { ca, cert: undefined, key: undefined } })
  const info = await trusting.request(new URL('/info', server.url), { method: 'GET' })
  t.match(await info.body.json(), { isPrimary: true }, 'HTTP/1.1')
  const session = http2.connect(server.url, { ca })
  const stream = session.request({ ':path': '/info' })
  await once(stream, 'response')
  t.match(JSON.parse(String(await buffer(stream))), { isPrimary: true }, 'HTTP/2 by ALPN')
  session.destroy()
  const [plain] = await once(https.get(`${server.url}/info`, { ca }), 'response')
  t.equal(plain.statusCode, 200, 'HTTP/1.1 of a client that knows nothing else')
  plain.resume()
  t.strictSame(await firstFrames(server.url, trusting), ['ready', 'heartbeat'])

  await t.rejects(access(t, {}).request(new URL('/info', server.url), { method: 'GET' }), /self-signed|unable to/)
  const distrusted = firstFrames(server.url, access(t, { tls: stranger.pem }))
  await t.rejects(distrusted, { message: /Cannot stream from https:/, cause: /signature|unable to|self-signed/ })
  await t.rejects(request(server.url.replace('https', 'http')), 'clear text')
  const silent = net.connect(server.port, '127.0.0.1')
  await once(silent, 'connect')
  const halfway = tls.connect({ port: server.port, host: '127.0.0.1', ca })
  await once(halfway, 'secureConnect')
  const held = http2.connect(server.url, { ca })
  await once(held, 'connect')
  await server.close()
  await Promise.all([silent, halfway, held].map((one) => (one.destroyed ? undefined : once(one, 'close'))))
  t.pass('closing the server closes every connection')
})

t.test('clients that must show a certificate', async (t) => {
  const [ours, client] = await makeCertificates(t, 2)
  const [stranger] = await makeCertificates(t)
  if (ours === undefined || client === undefined || stranger === undefined) throw new Error('Cannot make certificates')
  const { ca } = ours.pem
  const encryption = { tls: { ...ours.pem, clientAuth: true } }
  const { url } = await serve(testNode(), { ...OPEN_ACCESS, ...encryption, token: TOKEN })
  const get = (tlsOf: object, token = TOKEN) =>
    access(t, { token, tls: { ca, cert: undefined, key: undefined, ...tlsOf } }).request(new URL('/info', url), {
      method: 'GET',
    })
  await t.rejects(get({}), /certificate required|closed|ECONNRESET/)
  await t.rejects(get({ cert: stranger.pem.cert, key: stranger.pem.key }), /unknown ca|closed|ECONNRESET/)
  t.equal((await get(client.pem)).statusCode, 200)
  t.equal((await get(client.pem, 'another-token-altogether')).statusCode, 401, 'a certificate is no token')
  t.strictSame(await firstFrames(url, access(t, { token: TOKEN, tls: client.pem })), ['ready', 'heartbeat'])
  await t.rejects(firstFrames(url, access(t, { token: TOKEN, tls: { ca, cert: undefined, key: undefined } })))
})

t.test('a certificate that is none', async (t) => {
  const bad = { cert: 'no certificate', key: 'no key', ca: undefined, clientAuth: false }
  await t.rejects(serve(testNode(), { ...OPEN_ACCESS, tls: bad }), /Cannot use the certificate and key of http\.tls/)
})
