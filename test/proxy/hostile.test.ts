// Requests that two servers could read in two ways, and clients that only want to cost something. Each ends in a 4xx or a closed connection.
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { echo, rawly, startTarget, startTestProxy } from './proxied.js'

const REFUSED = /^(?:HTTP\/1\.1 4\d\d [\s\S]*)?$/

const smuggling: [string, string][] = [
  [
    'length and chunks',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX',
  ],
  [
    'chunks and length',
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX',
  ],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
  ['a list of lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na'],
  ['a signed length', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na'],
  ['a negative length', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\na'],
  ['another encoding', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
  ['two encodings', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  [
    'chunks twice',
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['chunked, but not last', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
  ['a space before the colon', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n'],
  ['a bare CR in a header', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\rX: y\r\n\r\n'],
  ['a bare LF', 'GET / HTTP/1.1\nHost: x\n\n'],
  ['a NUL', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n'],
  ['a bad chunk size', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n'],
  [
    'a chunk size of its own line end',
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n',
  ],
  ['no host', 'GET / HTTP/1.1\r\n\r\n'],
  ['two hosts', 'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n'],
  ['another host in the target', 'GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['no path', 'GET example HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a tunnel', 'CONNECT y:80 HTTP/1.1\r\nHost: y:80\r\n\r\n'],
  ['another protocol', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['nonsense', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
]

t.test('what can be read in two ways is not passed on', async (t) => {
  const seen: string[] = []
  const target = await startTarget(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`)
    echo(request, response)
  })
  const { port, url } = await startTestProxy(t, target)
  for (const [name, bytes] of smuggling) {
    seen.length = 0
    const answer = await rawly(port, bytes, { endMs: 300 })
    t.match(answer, REFUSED, name)
    t.strictSame(
      seen.filter((line) => !line.startsWith('POST')),
      [],
      `${name}: the application sees no request`,
    )
  }
  t.equal((await fetch(url)).status, 200, 'others are served')
})

t.test('a folded header does not become two', async (t) => {
  const seen: string[] = []
  const target = await startTarget(t, (request, response) => {
    seen.push(request.rawHeaders.join('|'))
    response.end()
  })
  const { port } = await startTestProxy(t, target)
  const answer = await rawly(port, 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n Transfer-Encoding: chunked\r\n\r\n', {
    endMs: 300,
  })
  t.match(answer, REFUSED)
  t.strictSame(seen, [])
})

t.test('too many headers', async (t) => {
  const { port, url } = await startTestProxy(t, await startTarget(t, echo))
  for (const header of [`A: ${'b'.repeat(100_000)}\r\n`, 'A: b\r\n'.repeat(40_000), `${'A'.repeat(100_000)}: b\r\n`]) {
    t.match(await rawly(port, `GET / HTTP/1.1\r\nHost: x\r\n${header}\r\n`), /^(?:HTTP\/1\.1 431 [\s\S]*)?$/)
  }
  t.match(await rawly(port, `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`), REFUSED)
  const many = `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${'A: b\r\n'.repeat(2100)}\r\n`
  const answer = await rawly(port, many)
  t.equal(answer.match(/\\?"A\\?",\\?"b\\?"/g)?.length, 2100, 'what is within the limit arrives whole')
  t.equal((await fetch(url)).status, 200)
})

t.test('slow clients are cut off', async (t) => {
  const listening = { readHeaderTimeoutMs: 400, idleTimeoutMs: 300, readTimeoutMs: 1000 }
  const { port } = await startTestProxy(t, await startTarget(t, echo), { listening })
  const begunMs = performance.now()
  const sockets = Array.from({ length: 50 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
  const drip = setInterval(() => {
    for (const socket of sockets) if (socket.writable) socket.write('A')
  }, 100)
  for (const socket of sockets) socket.write('GET / HTTP/1.1\r\nHost: x\r\n')
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.resume().on('close', resolve))))
  clearInterval(drip)
  t.ok(performance.now() - begunMs < 5000, 'headers that do not end')
  const body = rawly(port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc')
  t.equal(await Promise.race([body.then(() => 'closed'), delay(5000, 'open', { ref: false })]), 'closed', 'a body')
  const idle = await rawly(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  t.match(idle, /^HTTP\/1\.1 200 /, 'an answer, and then the end of an idle connection')
})

t.test('an answer that takes too long to write is cut', async (t) => {
  const target = await startTarget(t, (_, response) => response.write('never ends'))
  const { port } = await startTestProxy(t, target, { listening: { writeTimeoutMs: 300 } })
  const begunMs = performance.now()
  t.match(await rawly(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /never ends\r\n$/)
  t.ok(performance.now() - begunMs < 3000)
})
