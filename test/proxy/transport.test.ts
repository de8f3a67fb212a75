// HTTP as it is, through the proxy: streams, upgrades, trailers, large bodies, and what has to arrive unchanged.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'undici'
import { decided, echo, rawly, startTarget, startTestProxy } from './proxied.js'

const MIB = 1 << 20

async function ask(url: string, options: http.RequestOptions = {}, body?: string | Buffer) {
  const request = http.request(url, options)
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return { response, body: await text(response) }
}

t.test('headers keep their number, spelling and bytes', async (t) => {
  const target = await startTarget(t, (request, response) => {
    if (request.url === '/echo') return echo(request, response)
    response.writeHead(299, 'Very well', [
      'Set-Cookie',
      'a=1',
      'set-cookie',
      'b=2',
      'X-Caf',
      'é',
      'Connection',
      'X-Hop',
      'X-Hop',
      '1',
    ])
    return response.end('x')
  })
  const { url } = await startTestProxy(t, target)
  const { response } = await ask(url)
  t.strictSame([response.statusCode, response.statusMessage], [299, 'Very well'])
  const names = response.rawHeaders.filter((_, index) => index % 2 === 0)
  t.ok(names.includes('X-Caf') && names.includes('set-cookie') && names.includes('Set-Cookie'))
  t.strictSame(response.headers['set-cookie'], ['a=1', 'b=2'])
  t.equal(response.headers['x-caf'], 'é')
  t.equal(response.headers['x-hop'], undefined, 'of the connection to the application')
  const headers = ['Host', 'app.example', 'X-Twice', 'one', 'X-Twice', 'two', 'Connection', 'X-Secret', 'X-Secret', 's']
  const options: http.RequestOptions = {}
  Reflect.set(options, 'headers', headers) // names and values in turn, which the types leave out
  const { body } = await ask(`${url}/echo`, options)
  const { rawHeaders } = JSON.parse(body) as { rawHeaders: string[] }
  t.match(rawHeaders.join(), /X-Twice,one,X-Twice,two/)
  t.equal(rawHeaders[rawHeaders.findIndex((name) => /^host$/i.test(name)) + 1], 'app.example')
  t.notMatch(rawHeaders.join(), /X-Secret/)
})

t.test('methods without a body in the answer', async (t) => {
  const target = await startTarget(t, (request, response) => {
    if (request.method === 'HEAD') response.writeHead(200, { 'content-length': 12345 }).end()
    else if (request.method === 'OPTIONS') response.writeHead(204, { allow: 'GET' }).end()
    else response.writeHead(304, { etag: '"x"' }).end()
  })
  const { url } = await startTestProxy(t, target)
  const head = await ask(url, { method: 'HEAD' })
  t.strictSame([head.response.headers['content-length'], head.body], ['12345', ''])
  const options = await ask(url, { method: 'OPTIONS' })
  t.strictSame([options.response.statusCode, options.response.headers.allow], [204, 'GET'])
  t.equal((await ask(url)).response.statusCode, 304)
})

t.test('large bodies in both directions, with a length and without', async (t) => {
  const target = await startTarget(t, (request, response) => {
    const hash = createHash('sha256')
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      if (!response.write(chunk)) request.pause()
    })
    response.on('drain', () => request.resume())
    request.on('end', () => {
      response.addTrailers({ 'X-Hash': hash.digest('hex') })
      response.end()
    })
    response.writeHead(200, { trailer: 'X-Hash' })
  })
  const { url } = await startTestProxy(t, target)
  const body = Buffer.alloc(30 * MIB, 'abcdefghijk')
  const wanted = createHash('sha256').update(body).digest('hex')
  for (const headers of [{ 'content-length': body.length }, { 'transfer-encoding': 'chunked' }]) {
    const request = http.request(url, { method: 'POST', headers })
    request.end(body)
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    const hash = createHash('sha256')
    for await (const chunk of response) hash.update(chunk as Buffer)
    t.equal(hash.digest('hex'), wanted)
    t.equal(response.trailers['x-hash'], wanted, 'the trailer')
  }
})

t.test('trailers of requests, through one proxy and two, again where the first primary was none', async (t) => {
  const target = await startTarget(t, (request, response) => {
    text(request).then(
      (body) => response.end(JSON.stringify({ body, announced: request.headers.trailer, trailers: request.trailers })),
      () => {}, // whoever asked has gone
    )
  })
  const primary = await startTestProxy(t, target)
  const old = await startTestProxy(t, target, { settings: { primaryRedirectTimeoutMs: 50 } })
  old.node.role = undefined
  const replica = await startTestProxy(t, target)
  replica.node.role = { hostname: 'old', proxyUrl: old.url }
  const headers = 'Host: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Host\r\n'
  const trailers = 'X-Sum: 7\r\nHost: y\r\nCookie: a=b\r\nLitefs-Proxy-Hops: 1\r\n'
  const sent = `POST / HTTP/1.1\r\n${headers}\r\n5\r\nhello\r\n0\r\n${trailers}\r\n`
  const wanted = { body: 'hello', announced: 'X-Sum', trailers: { 'x-sum': '7' } }
  const seen = (answer: string) => JSON.parse(/\{.*\}/.exec(answer)?.[0] ?? '{}') as object
  t.strictSame(seen(await rawly(primary.port, sent)), wanted)
  const through = rawly(replica.port, sent)
  await delay(150)
  replica.node.become({ hostname: 'first', proxyUrl: primary.url })
  t.strictSame(seen(await through), wanted)
  const silent = await rawly(primary.port, sent.replace('Trailer: X-Sum, Host\r\n', ''))
  t.strictSame(seen(silent), { body: 'hello', trailers: {} }, 'not announced, not passed on')
  const gone = await startTestProxy(t, 'http://127.0.0.1:1', { settings: { primaryRedirectTimeoutMs: 50 } })
  gone.node.role = { hostname: 'dead', proxyUrl: 'http://127.0.0.1:1' }
  t.match(await rawly(gone.port, sent), /^HTTP\/1\.1 503 /)
})

t.test('events arrive one by one, and the application hears when the reader goes', async (t) => {
  let closed = (_: unknown) => {}
  const gone = new Promise((resolve) => {
    closed = resolve
  })
  let send = (_: string) => {}
  const target = await startTarget(t, (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    send = (data) => response.write(`data: ${data}\n\n`)
    response.on('close', closed)
  })
  const { url } = await startTestProxy(t, target)
  const request = http.get(url)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  t.equal(response.headers['content-type'], 'text/event-stream', 'the headers are there before the first event')
  for (const data of ['one', 'two', 'three']) {
    send(data)
    const [chunk] = (await once(response, 'data')) as [Buffer]
    t.equal(chunk.toString(), `data: ${data}\n\n`)
  }
  request.destroy()
  await gone
})

t.test('Expect: 100-continue is answered when the body is wanted, and not before', async (t) => {
  const { node, port } = await startTestProxy(t, await startTarget(t, echo))
  const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n'
  const socket = net.connect(port, '127.0.0.1').setEncoding('latin1')
  t.teardown(() => socket.destroy())
  socket.write(`${head}\r\n`)
  t.match((await once(socket, 'data'))[0], /^HTTP\/1\.1 100 Continue/)
  socket.write('ok')
  t.match((await once(socket, 'data'))[0], /^HTTP\/1\.1 200 OK/)
  node.role = { hostname: 'first', proxyUrl: 'http://127.0.0.1:1' }
  const { port: flyPort, node: other } = await startTestProxy(t, 'http://127.0.0.1:1', {
    settings: { forwards: false },
  })
  other.role = node.role
  const answer = await rawly(flyPort, `${head}\r\n`)
  t.match(answer, /^HTTP\/1\.1 200 OK\r\nfly-replay: instance=first/)
  t.notMatch(answer, /100 Continue/)
})

t.test('an answer before the end of the request reaches the client', async (t) => {
  const target = await startTarget(t, (_, response) => {
    response.writeHead(413, { connection: 'close' }).end('too much')
  })
  const { url } = await startTestProxy(t, target)
  const request = http.request(url, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
  request.on('error', () => {}) // the rest of the body has nobody to go to
  request.write(Buffer.alloc(64 << 10))
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  t.equal(response.statusCode, 413)
  t.equal(await text(response), 'too much')
  request.destroy()
})

t.test('early hints arrive, several in one header too, and those that cannot be sent cost no answer', async (t) => {
  const links = '</a.css>; rel=preload; as=style, </b,c.js>; rel="preload"; as=script, </d>; rel=next; title="a, b"'
  const target = await startTarget(t, (request, response) => {
    request.socket.write(`HTTP/1.1 103 Early Hints\r\nLink: ${links}\r\nX-Other: 1\r\n\r\n`)
    response.end('there')
  })
  const { port } = await startTestProxy(t, target)
  const answer = await rawly(port, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  const hints = '</a.css>; rel=preload; as=style, </b,c.js>; rel="preload"; as=script'
  t.ok(answer.startsWith(`HTTP/1.1 103 Early Hints\r\nLink: ${hints}\r\n\r\nHTTP/1.1 200 OK\r\n`), answer)
  t.match(answer, /there/)
  t.match(await rawly(port, 'GET / HTTP/1.0\r\nHost: x\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n/, 'HTTP/1.0 has none')
})

t.test('connections to the application are kept', async (t) => {
  const ports = new Set<number | undefined>()
  const target = await startTarget(t, (request, response) => {
    ports.add(request.socket.remotePort)
    response.end()
  })
  const { url } = await startTestProxy(t, target)
  for (let n = 0; n < 20; n++) await (await fetch(url)).arrayBuffer()
  t.equal(ports.size, 1)
})

/** An application that takes WebSocket connections and answers what comes with the same bytes, after its own greeting. */
function takesUpgrades(server: http.Server): void {
  server.on('upgrade', (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
    if (request.url === '/no') {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: no\r\n\r\nno')
      return
    }
    const key = request.headers['sec-websocket-key'] ?? ''
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${request.headers.upgrade}\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    if (request.headers.upgrade !== 'websocket') {
      socket.write(head)
      socket.pipe(socket)
      return
    }
    socket.write(Buffer.from([0x81, 2, 0x68, 0x69])) // "hi", a text frame
  })
}

t.test('other protocols', async (t) => {
  const server = http.createServer(echo)
  takesUpgrades(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const target = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
  const settings = { alwaysForward: ['/write/*'] }
  const primary = await startTestProxy(t, target, { settings })
  const replica = await startTestProxy(t, 'http://127.0.0.1:1', { settings })
  replica.node.role = { hostname: 'first', proxyUrl: primary.url }

  await t.test('WebSocket, here and through two proxies', async (t) => {
    for (const url of [`${primary.url}/chat`, `${replica.url}/write/chat`]) {
      const socket = new WebSocket(url.replace('http', 'ws'))
      const first = new Promise((resolve) => {
        socket.addEventListener('message', ({ data }) => resolve(data))
      })
      t.equal(await first, 'hi')
      socket.close()
    }
    t.equal(await decided(replica.registry, 'replica', 'forward'), 1)
  })
  const upgrade = (path: string, more = '') =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n${more}\r\n`
  await t.test('bytes in both directions, what came at once included', async (t) => {
    const socket = net.connect(primary.port, '127.0.0.1').setEncoding('latin1')
    t.teardown(() => socket.destroy())
    socket.write(`${upgrade('/')}early`)
    let seen = ''
    socket.on('data', (chunk: string) => {
      seen += chunk
    })
    while (!seen.endsWith('early')) await once(socket, 'data')
    t.match(seen, /^HTTP\/1\.1 101 /)
    socket.write('late')
    while (!seen.endsWith('late')) await once(socket, 'data')
    socket.end()
    await once(socket, 'close')
  })
  await t.test('an application that does not want to', async (t) => {
    const refused = await rawly(primary.port, `${upgrade('/no')}GET / HTTP/1.1\r\nHost: x\r\n\r\n`)
    t.match(
      refused,
      /^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*X-Why: no\r\n[\s\S]*\r\n\r\nno$/,
      'and nothing more on this connection',
    )
  })
  await t.test('a body would be taken for the other protocol', async (t) => {
    t.match(await rawly(primary.port, `${upgrade('/', 'Content-Length: 3\r\n')}abc`), /^HTTP\/1\.1 400 /)
  })
  await t.test(
    'HTTP/2 in clear text is no tunnel: the request is answered as it is, and those that follow',
    async (t) => {
      const head = 'Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'
      const post = (path: string) => `POST ${path} HTTP/1.1\r\n${head}Content-Length: 3\r\n\r\nabc`
      const answers = await rawly(replica.port, post('/a') + post('/b'), { endMs: 500 })
      const seen = [...answers.matchAll(/\{.*\}/g)].map(([json]) => JSON.parse(json))
      t.match(seen, [
        { method: 'POST', url: '/a', body: 'abc' },
        { method: 'POST', url: '/b', body: 'abc' },
      ])
      t.notMatch(answers, /h2c|HTTP2-Settings/i)
    },
  )
  await t.test("waits for its user's transaction", async (t) => {
    const cookie = 'Cookie: __txid=0000000000000005\r\n'
    const waiting = rawly(primary.port, upgrade('/', cookie), { endMs: 200 })
    t.equal(await Promise.race([waiting, delay(50, 'waits')]), 'waits')
    primary.node.board.update('app.db', 5n)
    t.match(await waiting, /^HTTP\/1\.1 101 /)
  })
})
