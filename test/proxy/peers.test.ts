// Proxies among themselves: over TLS, with certificates, and with the key that the cluster's token makes. Users need none of it.
import { once } from 'node:events'
import https from 'node:https'
import net from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { makeCertificates } from '../servers/certificates.js'
import { decided, echo, rawly, startTarget, startTestProxy, type TestProxy } from './proxied.js'

const TOKEN = 'correct-horse-battery-staple'

interface Seen {
  readonly method: string
  readonly url: string
  readonly rawHeaders: string[]
  readonly body: string
}

function headersOf({ rawHeaders }: Seen): Map<string, string> {
  const found = new Map<string, string>()
  for (let index = 0; index < rawHeaders.length; index += 2) {
    found.set(rawHeaders[index]?.toLowerCase() ?? '', rawHeaders[index + 1] ?? '')
  }
  return found
}

/** As a replica knows a primary that takes TLS. */
function secured({ port }: TestProxy) {
  return { hostname: 'first', proxyUrl: `https://127.0.0.1:${port}` }
}

async function postAs(host: string, url: string): Promise<Seen> {
  const { port, hostname } = new URL(url)
  const socket = net.connect(Number(port), hostname).setEncoding('utf8')
  const connection = 'Connection: close\r\nContent-Length: 2\r\n'
  socket.write(`POST /a HTTP/1.1\r\nHost: ${host}\r\n${connection}\r\nhi`)
  const answer = await text(socket)
  return JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1)) as Seen
}

t.test('a write is handed on over TLS, and users are served with TLS and without', async (t) => {
  const [one, two] = await makeCertificates(t, 2)
  if (one === undefined || two === undefined) throw new Error('two certificates')
  const application = await startTarget(t, echo)
  const own = { ...one.pem, clientAuth: true }
  const primary = await startTestProxy(t, application, { listening: { tls: own }, peers: { clientAuth: true } })
  const replica = await startTestProxy(t, application, { peers: { tls: two.pem } })
  replica.node.role = secured(primary)
  // The certificate is the node's, not that of the hosts that users ask for.
  for (const host of ['one.example', 'two.example']) {
    const seen = await postAs(host, replica.url)
    t.match(seen, { method: 'POST', url: '/a', body: 'hi' })
    const headers = headersOf(seen)
    t.equal(headers.get('host'), host)
    t.equal(headers.get('x-forwarded-proto'), 'http', 'what the user spoke')
    t.notOk(headers.has('litefs-proxy-hops'), 'the application is told nothing of it')
  }
  t.equal(await decided(primary.registry, 'primary', 'write'), 2)

  t.equal((await fetch(primary.url)).status, 200, 'a user in clear text')
  const request = https.get({ host: '127.0.0.1', port: primary.port, ca: one.pem.ca })
  const [response] = await once(request, 'response')
  const seen = JSON.parse(await text(response)) as Seen
  t.equal(headersOf(seen).get('x-forwarded-proto'), 'https', 'a user with TLS, who shows no certificate')
})

t.test('a proxy that cannot be trusted gets nothing', async (t) => {
  const [one] = await makeCertificates(t)
  const [other] = await makeCertificates(t)
  if (one === undefined || other === undefined) throw new Error('two authorities')
  const asked: string[] = []
  const application = await startTarget(t, (request, response) => {
    asked.push(request.url ?? '')
    echo(request, response)
  })
  const listening = { tls: { ...one.pem, clientAuth: false } }
  const primary = await startTestProxy(t, application, { listening })
  const settings = { primaryRedirectTimeoutMs: 200, alwaysForward: ['/chat'] }
  const replica = await startTestProxy(t, application, { settings, peers: { tls: { ca: other.pem.ca } } })
  replica.node.role = secured(primary)
  const answer = await fetch(replica.url, { method: 'POST', body: 'secret' })
  t.equal(answer.status, 503)
  t.match(await answer.text(), /no primary available: .*certificate/)
  const upgrade = 'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'
  t.match(await rawly(replica.port, upgrade), /^HTTP\/1\.1 503 [\s\S]*certificate/)
  t.strictSame(asked, [])
})

t.test('another protocol over TLS', async (t) => {
  const [one] = await makeCertificates(t)
  if (one === undefined) throw new Error('a certificate')
  const target = net.createServer((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.pipe(socket)
    })
    socket.on('error', () => {}) // the proxy cuts it when the test ends
  })
  target.listen(0, '127.0.0.1')
  await once(target, 'listening')
  t.teardown(() => target.close())
  const url = `http://127.0.0.1:${(target.address() as net.AddressInfo).port}`
  const settings = { alwaysForward: ['/chat'] }
  const primary = await startTestProxy(t, url, { settings, listening: { tls: { ...one.pem, clientAuth: false } } })
  const replica = await startTestProxy(t, url, { settings, peers: { tls: { ca: one.pem.ca } } })
  replica.node.role = secured(primary)
  const socket = net.connect(replica.port, '127.0.0.1').setEncoding('latin1')
  t.teardown(() => socket.destroy())
  socket.write('GET /chat HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  let seen = ''
  socket.on('data', (chunk: string) => {
    seen += chunk
  })
  while (!seen.endsWith('\r\n\r\n')) await once(socket, 'data')
  t.match(seen, /^HTTP\/1\.1 101 /)
  socket.write('hello')
  while (!seen.endsWith('hello')) await once(socket, 'data')
})

/** A GET with the header that proxies count with: it counts as a write where that is believed. */
async function hopping(t: Test, { url, registry }: TestProxy, headers: Record<string, string>) {
  const before = await decided(registry, 'primary', 'write')
  const answer = await fetch(url, { headers: { 'litefs-proxy-hops': '1', ...headers } })
  const seen = (await answer.json()) as Seen
  t.notMatch(seen.rawHeaders.join(), /Litefs-Proxy/i, 'it ends here')
  return (await decided(registry, 'primary', 'write')) > before
}

t.test('what a request says of other proxies is believed of those who know the token', async (t) => {
  const application = await startTarget(t, echo)
  const open = await startTestProxy(t, application)
  t.ok(await hopping(t, open, {}), 'of everybody where there is none')
  const primary = await startTestProxy(t, application, { peers: { token: TOKEN } })
  t.notOk(await hopping(t, primary, {}))
  t.notOk(await hopping(t, primary, { 'litefs-proxy-key': 'guessed' }))
  t.notOk(await hopping(t, primary, { 'litefs-proxy-key': TOKEN }), 'the token itself is no key')
  const [one] = await makeCertificates(t)
  if (one === undefined) throw new Error('a certificate')
  const strict = await startTestProxy(t, application, { peers: { clientAuth: true } })
  t.notOk(await hopping(t, strict, {}), 'nor of those who show no certificate where nodes do')

  const settings = { alwaysForward: ['/login'] }
  const replica = await startTestProxy(t, application, { settings, peers: { token: TOKEN } })
  replica.node.role = { hostname: 'first', proxyUrl: primary.url }
  const seen = (await (await fetch(`${replica.url}/login`)).json()) as Seen
  t.equal(await decided(primary.registry, 'primary', 'write'), 1, 'a GET that the replica handed on is a write')
  t.notMatch(seen.rawHeaders.join(), /Litefs-Proxy/i)
  const stranger = await startTestProxy(t, application, { settings, peers: { token: `another-${TOKEN}` } })
  stranger.node.role = { hostname: 'first', proxyUrl: primary.url }
  await fetch(`${stranger.url}/login`)
  t.equal(await decided(primary.registry, 'primary', 'write'), 1, 'one of another cluster is a user')
})

t.test('connections that say nothing, or nothing sensible, are cut', async (t) => {
  const [one] = await makeCertificates(t)
  if (one === undefined) throw new Error('a certificate')
  const listening = { tls: { ...one.pem, clientAuth: false }, readHeaderTimeoutMs: 300 }
  const { port, url } = await startTestProxy(t, await startTarget(t, echo), { listening })
  const silent = rawly(port, '')
  const half = rawly(port, '\x16\x03\x01')
  const nonsense = rawly(port, '\x16nonsense that is no handshake')
  const late = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false }).resume()
  late.on('error', () => {}) // a reset is an end too
  const ends = Promise.all([silent, half, nonsense, once(late, 'close')])
  t.equal(await Promise.race([ends.then(() => 'cut'), delay(10_000, 'open', { ref: false })]), 'cut')
  t.equal((await fetch(url)).status, 200)
})
