import { once } from 'node:events'
import { open } from 'node:fs/promises'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { parseAddress } from '../../src/http/address.js'
import { FrameDecoder } from '../../src/replication/frame-decoder.js'
import { encodePositionMap } from '../../src/replication/position-map.js'
import type { HeldSnapshot } from '../../src/replication/source.js'
import { serve, testNode } from './node.js'

interface Answer {
  status: number
  headers: http.IncomingHttpHeaders | http2.IncomingHttpHeaders
  body: string
}

type Ask = (
  url: string,
  path: string,
  options?: { method?: string; headers?: object; body?: Buffer },
) => Promise<Answer>

const ask1: Ask = async (url, path, { method = 'GET', headers = {}, body = Buffer.alloc(0) } = {}) => {
  const request = http.request(url + path, { method, headers: { ...headers }, agent: false }).end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return { status: response.statusCode ?? 0, headers: response.headers, body: String(await buffer(response)) }
}

const ask2: Ask = async (url, path, { method = 'GET', headers = {}, body = Buffer.alloc(0) } = {}) => {
  const session = http2.connect(url)
  try {
    const stream = session.request({ ':path': path, ':method': method, ...headers }, { endStream: false }).end(body)
    const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status'?: number }]
    return { status: answer[':status'] ?? 0, headers: answer, body: String(await buffer(stream)) }
  } finally {
    session.destroy()
  }
}

t.test('every call answers in both protocols on one port, with the ids', async (t) => {
  const node = testNode()
  const { url } = await serve(node)
  for (const ask of [ask1, ask2]) {
    for (const path of ['/info', '/databases', '/health/live', '/health/ready', '/metrics', '/debug/vars']) {
      const { status, headers } = await ask(url, path)
      t.equal(status, 200, path)
      t.equal(headers['litefs-id'], '00000000000000AB')
      t.equal(headers['litefs-cluster-id'], 'LFSC0123456789ABCDEF')
    }
    t.strictSame(JSON.parse((await ask(url, '/info')).body), {
      clusterID: 'LFSC0123456789ABCDEF',
      isPrimary: true,
      candidate: true,
      path: '/var/lib/litefs',
      primary: { hostname: 'one' },
    })
    node.notReady = 'no primary has been found'
    const ready = await ask(url, '/health/ready')
    t.strictSame([ready.status, JSON.parse(ready.body).reason], [503, 'no primary has been found'])
    node.notReady = undefined
  }
})

t.test('bad requests get a status and a reason as JSON', async (t) => {
  const node = testNode()
  const { url } = await serve(node)
  const cases: [string, string, number, RegExp][] = [
    ['GET', '/nothing', 404, /There is no GET \/nothing/],
    ['DELETE', '/info', 404, /There is no DELETE/],
    ['GET', '/export', 400, /"name" is required/],
    ['GET', '/export?name=a&name=b', 400, /more than once/],
    ['GET', '/export?name=/etc/passwd', 400, /absolute/],
    ['GET', '/export?name=a/../../b', 400, /part "\.\."/],
    ['GET', '/export?name=a%00b', 400, /NUL/],
    ['GET', `/export?name=${'x'.repeat(10_000)}`, 400, /longer than 1024/],
    ['GET', '/export?name=none', 404, /no such database/],
    ['POST', '/import?name=..', 400, /part "\.\."/],
  ]
  for (const ask of [ask1, ask2]) {
    for (const [method, path, status, message] of cases) {
      const answer = await ask(url, path, { method })
      t.equal(answer.status, status, `${method} ${path.slice(0, 40)}`)
      t.match(JSON.parse(answer.body).error, message)
    }
  }
  node.isPrimary = false
  t.equal((await ask1(url, '/import?name=a', { method: 'POST' })).status, 503)
})

t.test('a stream is refused where it makes no sense', async (t) => {
  const node = testNode()
  const { url } = await serve(node)
  const post = (id: string, body: Buffer, ask = ask2) =>
    ask(url, '/stream', { method: 'POST', headers: { 'litefs-id': id }, body })
  const empty = Buffer.alloc(4)
  t.equal((await post('1', empty, ask1)).status, 426)
  t.equal((await post('00000000000000ab', empty)).status, 400, 'to oneself')
  t.equal((await post('zz', empty)).status, 400)
  t.equal((await post('', empty)).status, 400)
  t.match(JSON.parse((await post('1', Buffer.alloc(3))).body).error, /ends before/)
  t.match(JSON.parse((await post('1', Buffer.from('00000001000000022e2e', 'hex'))).body).error, /ends before/)
  t.equal((await post('1', Buffer.alloc((16 << 20) + 1))).status, 413)
  node.isPrimary = false
  t.equal((await post('1', empty)).status, 503)
})

t.test('a stream has ready, heartbeats, and an end when the server closes', async (t) => {
  const server = await serve(testNode())
  const session = http2.connect(server.url)
  t.teardown(() => session.destroy())
  const headers = { ':path': '/stream', ':method': 'POST', 'litefs-id': '1' }
  const stream = session.request(headers).end(encodePositionMap(new Map([['old.db', { txid: 3n, checksum: 5n }]])))
  const decoder = new FrameDecoder()
  const seen: string[] = []
  let closing: Promise<void> | undefined
  for await (const chunk of stream) {
    for (const item of decoder.push(chunk)) seen.push(item.type)
    if (seen.length >= 4) closing ??= server.close()
  }
  t.equal(decoder.atFrameEnd, true)
  t.strictSame([...seen.slice(0, 3), seen.at(-1)], ['drop', 'ready', 'heartbeat', 'end'])
  await closing
})

/** Begins an export over HTTP/2; resolves when the server knows of it. */
async function beginExport(t: Test, url: string): Promise<void> {
  const session = http2.connect(url)
  t.teardown(() => session.destroy())
  session.request({ ':path': '/export?name=a.db' }).on('error', () => {})
  await new Promise((resolve) => session.ping(resolve))
}

/** Something that is asked for and given by the test. */
function given<T>() {
  const waiting: ((value: T) => void)[] = []
  let count = 0
  return {
    ask: () => {
      count++
      return new Promise<T>((resolve) => waiting.push(resolve))
    },
    give: (value: T) => waiting.shift()?.(value),
    asked: async (times: number) => {
      while (count < times) await new Promise((resolve) => setImmediate(resolve))
    },
    get count() {
      return count
    },
  }
}

t.test('exports that do not end leave snapshots to replicas', { timeout: 20_000 }, async (t) => {
  const node = testNode()
  const snapshots = given<HeldSnapshot | undefined>()
  const view = { ...node.view, source: { ...node.view.source, snapshot: snapshots.ask } }
  const { url } = await serve({ ...node, view })
  await Promise.all([1, 2, 3].map(() => beginExport(t, url)))
  await snapshots.asked(2)
  t.equal(snapshots.count, 2, 'of four that there may be')
  snapshots.give(undefined)
  await snapshots.asked(3)
})

t.test('connections that say nothing of use do no harm', async (t) => {
  const server = await serve(testNode())
  const garbage = async (bytes: string) => {
    const socket = net.connect(server.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(bytes)
    socket.end()
    await once(socket.resume(), 'close')
  }
  await Promise.all([
    garbage(''),
    garbage('PRI * HT'),
    garbage('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage'),
    garbage('\0\0\0'),
  ])
  const slow = net.connect(server.port, '127.0.0.1')
  for (const byte of 'GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n') slow.write(byte)
  t.match(String(await buffer(slow)), /200 OK/)
  t.equal((await ask2(server.url, '/info')).status, 200)
})

t.test('events: a slow reader is dropped, a quick one gets every one', async (t) => {
  const node = testNode()
  const { url } = await serve(node)
  const quick = await follow(t, url)
  const slow = await follow(t, url)
  while (node.listeners.size < 2) await new Promise((resolve) => setImmediate(resolve))
  slow.pause()
  let lines = 0
  quick.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 10) lines++
  })
  let sent = 0
  while (node.listeners.size > 1 && sent < 1_000_000) {
    for (let i = 0; i < 50; i++) {
      sent++
      for (const listener of node.listeners) listener('a.db', transaction(sent))
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.ok(sent > 1024, `dropped after ${sent}`)
  const cut = once(slow, 'error')
  slow.resume()
  t.match(String(await cut), /aborted/)
  while (lines < 1 + sent / 2) await once(quick, 'data')
  t.equal(node.listeners.size, 1)
})

t.test('nothing is kept for a client that went before its answer began', async (t) => {
  const node = testNode()
  const { url } = await serve(node)
  const pages = await manyPages(t)
  const calls = [
    ['HTTP/1.1', 'GET', '/events'],
    ['HTTP/2', 'GET', '/events'],
    ['HTTP/1.1', 'GET', '/export?name=a.db'],
    ['HTTP/2', 'GET', '/export?name=a.db'],
    ['HTTP/2', 'POST', '/stream'],
  ] as const
  for (const [protocol, method, path] of calls) {
    const ready = gate()
    const asked = gate()
    const released = gate()
    const wait = async () => {
      asked.resolve()
      await ready.promise
    }
    node.follow = async () => {
      await wait()
      return released.resolve
    }
    node.snapshot = async () => {
      await wait()
      return { pages, release: released.resolve }
    }
    const leave = protocol === 'HTTP/2' ? ask2AndLeave(url, method, path) : ask1AndLeave(url, path)
    await asked.promise
    leave()
    // By the time that these are answered it is noticed that the other one has gone.
    for (let n = 0; n < 3; n++) await ask1(url, '/health/live')
    ready.resolve()
    await released.promise
    t.strictSame([node.listeners.size, node.view.replicas.all], [0, []], `${protocol} ${path}`)
  }
})

t.test('an export that nobody reads on with is cut, and its pages released', async (t) => {
  const node = testNode(100)
  const { url } = await serve(node)
  const released = gate()
  const pages = await manyPages(t)
  node.snapshot = async () => ({ pages, release: released.resolve })
  const request = http.get(`${url}/export?name=big.db`, { agent: false })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  await released.promise
  await t.rejects(buffer(response), /aborted/, 'it does not look complete')
})

function gate() {
  let resolve = () => {}
  const promise = new Promise<void>((open) => {
    resolve = open
  })
  return { promise, resolve }
}

function ask1AndLeave(url: string, path: string): () => void {
  const request = http.get(url + path, { agent: false }).on('error', () => {}) // nobody waits for it
  return () => request.destroy()
}

function ask2AndLeave(url: string, method: string, path: string): () => void {
  const session = http2.connect(url)
  const stream = session.request({ ':path': path, ':method': method, 'litefs-id': '1' }, { endStream: false })
  stream.on('error', () => {}) // nobody waits for it
  stream.end(method === 'POST' ? encodePositionMap(new Map()) : undefined)
  return () => session.destroy()
}

/** Pages of zeros, more than the buffers between here and a reader take: nobody reads all of them. */
async function manyPages(t: Test) {
  const [pageSize, pageCount] = [4096, 16_384]
  const file = await open(path.join(t.testdir(), 'big.db'), 'w+')
  t.teardown(() => file.close())
  await file.truncate(pageCount * pageSize)
  const shared = (length: number) => new Int32Array(new SharedArrayBuffer(4 * length))
  const place = { databaseFd: file.fd, walFd: -1, keptFd: -1, places: shared(pageCount), control: shared(2) }
  return { pageSize, pageCount, position: { txid: 1n, checksum: 1n }, ...place }
}

async function follow(t: Test, url: string): Promise<http.IncomingMessage> {
  const request = http.get(`${url}/events`, { agent: false })
  t.teardown(() => request.destroy())
  request.on('error', () => {})
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  response.on('error', () => {})
  return response
}

function transaction(n: number) {
  const txid = BigInt(n)
  return {
    minTxid: txid,
    after: { txid, checksum: 1n << 63n },
    preApplyChecksum: 0n,
    pageSize: 4096,
    commit: 1,
    timestampMs: 0,
    nodeId: 1n,
    path: '',
    size: 0,
    data: undefined,
  }
}

t.test('addresses are written as in Go', async (t) => {
  t.strictSame(parseAddress(':20202'), { host: '', port: 20202 })
  t.strictSame(parseAddress('localhost:0'), { host: 'localhost', port: 0 })
  t.strictSame(parseAddress('[::1]:80'), { host: '::1', port: 80 })
  for (const bad of ['', '20202', 'a:b', '::1:80', 'a:70000', ':']) t.throws(() => parseAddress(bad), /allowed is/)
})
