// The receiver against our own server, and against peers that break the rules, all over real sockets.
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { PeerAccess } from '../../src/http/peer-access.js'
import { openStream } from '../../src/http/stream-client.js'
import { follow } from '../../src/replication/follower.js'
import { END_OF_CHUNKS, encodeChunks, encodeFrame } from '../../src/replication/frames.js'
import type { ReceivedLtx } from '../../src/replication/incoming-file.js'
import { type ReplicaParts, receiveStream } from '../../src/replication/receiver.js'
import { serve, silent, testNode } from '../http/node.js'

const fixture = (name: string) => readFileSync(fileURLToPath(new URL(`../fixtures/ltx/${name}`, import.meta.url)))
const never = new AbortController().signal

function framed(name: string, ltx: Buffer): Buffer {
  return Buffer.concat([encodeFrame({ type: 'ltx', name }), encodeChunks(ltx), END_OF_CHUNKS])
}

/** What was handed over, in order. */
function recorder() {
  const seen: { name: string; ltx: ReceivedLtx; bytes: Buffer }[] = []
  const events: string[] = []
  const parts: ReplicaParts = {
    apply: async (name, ltx) => {
      const bytes = 'path' in ltx.body ? readFileSync(ltx.body.path) : Buffer.from(ltx.body.bytes)
      seen.push({ name, ltx, bytes })
    },
    ready: () => events.push('ready'),
    heartbeat: () => events.push('heartbeat'),
    highWater: (name, txid) => events.push(`highWater ${name} ${txid}`),
  }
  return { seen, events, parts }
}

/** A server that answers every stream with these bytes; `left` tells how it goes on. */
async function peer(
  t: Test,
  bytes: Buffer,
  left: 'ends' | 'dies' | 'is silent',
  headers: object = {},
): Promise<string> {
  const server = http2.createServer()
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on('session', (session) => sessions.add(session))
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200, ...headers })
    stream.write(bytes, () => {
      if (left === 'ends') stream.end()
      if (left === 'dies') stream.session?.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const access = new PeerAccess({ token: undefined, tls: undefined })
const follower = { hostname: 'höst', advertiseUrl: 'http://two:20202', isCandidate: true, epoch: 4n }
const target = (url: string) => {
  return { url, access, nodeId: '0000000000000001', clusterId: undefined, follower, filter: [], silenceMs: 300 }
}

t.test('files, large and small, of both versions arrive verified and whole', async (t) => {
  const files = ['v1-snapshot.ltx', 'v1-lz4-change.ltx', 'v3-block-snapshot.ltx', 'v3-block-change.ltx'].map(fixture)
  const stream = Buffer.concat([
    ...files.map((file, i) => framed(`db${i}`, file)),
    encodeFrame({ type: 'ready' }),
    encodeFrame({ type: 'highWater', name: 'db0', txid: 7n }),
    encodeFrame({ type: 'heartbeat', timestampMs: 5 }),
    encodeFrame({ type: 'end' }),
  ])
  for (const memoryBytes of [1 << 20, 200]) {
    const directory = t.testdir()
    const { seen, events, parts } = recorder()
    const { bytes } = await openStream(target(await peer(t, stream, 'ends')), new Map(), never)
    t.strictSame(await receiveStream(bytes, parts, { directory, memoryBytes }), { type: 'end' })
    t.strictSame(
      seen.map(({ name, bytes }) => [name, bytes.toString('hex')]),
      files.map((file, i) => [`db${i}`, file.toString('hex')]),
    )
    t.strictSame(events, ['ready', 'highWater db0 7', 'heartbeat'])
    t.strictSame(readdirSync(directory), [])
  }
})

t.test('a replica that applies slowly is handed so much only, in memory and on the disk', async (t) => {
  const file = fixture('v3-block-snapshot.ltx')
  const plenty = { memoryBytes: 1 << 20, diskBytes: 1 << 20, files: 100 }
  const cases = [
    { memoryBytes: 1 << 20, limits: { ...plenty, memoryBytes: 2 * file.length + 1 } },
    { memoryBytes: 200, limits: { ...plenty, diskBytes: 2 * file.length + 1 } },
    { memoryBytes: 200, limits: { ...plenty, files: 2 } },
  ]
  const streamOf = async function* () {
    for (let i = 0; i < 6; i++) yield framed('a', file)
    yield encodeFrame({ type: 'end' })
  }
  for (const { memoryBytes, limits } of cases) {
    let inHand = 0
    const counts: number[] = []
    const apply: ReplicaParts['apply'] = async () => {
      counts.push(++inHand)
      await delay(50)
      inHand--
    }
    const options = { directory: t.testdir(), memoryBytes }
    await receiveStream(streamOf(), { ...recorder().parts, apply }, options, limits)
    t.equal(counts.length, 6)
    t.equal(Math.max(...counts), 2, JSON.stringify(limits))
  }
  const alone = { memoryBytes: 1, diskBytes: 1, files: 100 }
  const { seen, parts } = recorder()
  await receiveStream(streamOf(), parts, { directory: t.testdir(), memoryBytes: 200 }, alone)
  t.equal(seen.length, 6, 'one at a time, however small the limits')
})

t.test('a peer that breaks the rules, is cut or falls silent hands nothing over', async (t) => {
  const snapshot = fixture('v3-block-snapshot.ltx')
  const damaged = Buffer.from(snapshot)
  damaged[150] = 255 - (damaged[150] ?? 0)
  const endless = Buffer.concat([snapshot.subarray(0, 100), Buffer.alloc(4 << 20, 1)])
  const cases: [string, Buffer, 'ends' | 'dies' | 'is silent', RegExp][] = [
    ['garbage', Buffer.from('HTTP/1.1 200 OK\r\n'), 'is silent', /no frame type/],
    ['a name that leads elsewhere', framed('../a', snapshot), 'is silent', /part "\.\."/],
    ['a damaged file', framed('a', damaged), 'is silent', /LTX/],
    ['no file', framed('a', Buffer.alloc(200)), 'is silent', /does not start with/],
    ['an endless file', framed('a', endless).subarray(0, -2), 'is silent', /larger than its header allows/],
    ['no end frame', encodeFrame({ type: 'ready' }), 'ends', /cut before its end frame/],
    ['half a file', framed('a', snapshot).subarray(0, 200), 'ends', /cut before its end frame/],
    ['a killed server', framed('a', snapshot).subarray(0, 200), 'dies', /.*/],
    ['silence', encodeFrame({ type: 'ready' }), 'is silent', /Cannot read the stream/],
  ]
  for (const [what, bytes, left, message] of cases) {
    for (const memoryBytes of [1 << 20, 120]) {
      const directory = t.testdir()
      const { seen, parts } = recorder()
      const stream = await openStream(target(await peer(t, bytes, left)), new Map(), never)
      await t.rejects(receiveStream(stream.bytes, parts, { directory, memoryBytes }), { message }, what)
      t.strictSame([seen, readdirSync(directory)], [[], []], what)
    }
  }
})

t.test('a snapshot from another region is not held up by its answers: 50 MB/s at a round trip of 100 ms', async (t) => {
  const server = http2.createServer()
  const asked = new Promise<number[]>((resolve) => {
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 })
      const { session } = stream
      resolve([session?.remoteSettings.initialWindowSize ?? 0, session?.state.remoteWindowSize ?? 0])
      stream.end(encodeFrame({ type: 'end' }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { bytes } = await openStream(
    target(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    new Map(),
    never,
  )
  t.strictSame(await receiveStream(bytes, recorder().parts, { directory: t.testdir(), memoryBytes: 1000 }), {
    type: 'end',
  })
  for (const window of await asked) t.ok(window >= 50e6 * 0.1, `${window} bytes may be on their way`)
})

t.test('a peer is not silent while this process itself stands still', async (t) => {
  const heartbeat = encodeFrame({ type: 'heartbeat', timestampMs: 5 })
  let peerStream: http2.ServerHttp2Stream | undefined
  const server = http2.createServer()
  server.on('stream', (stream) => {
    peerStream = stream
    stream.respond({ ':status': 200 })
    stream.write(heartbeat)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const stream = await openStream(target(url), new Map(), never)
  const { events, parts } = recorder()
  const stand = () => {
    peerStream?.write(heartbeat, () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400) // silence is 300
      peerStream?.end(encodeFrame({ type: 'end' }))
    })
  }
  const own = { ...parts, heartbeat: () => (events.push('heartbeat') === 1 ? stand() : undefined) }
  t.strictSame(await receiveStream(stream.bytes, own, { directory: t.testdir(), memoryBytes: 1000 }), { type: 'end' })
  t.strictSame(events, ['heartbeat', 'heartbeat'])
})

t.test('a refusal is told with its reason', async (t) => {
  const node = testNode()
  node.isPrimary = false
  const { url } = await serve(node)
  const refused = openStream(target(url), new Map(), never)
  await t.rejects(refused, { message: /Cannot stream from/, cause: { message: /503.*not the primary/ } })
  await t.rejects(openStream(target('http://127.0.0.1:1'), new Map(), never), { message: /Cannot stream from/ })
})

t.test('a refusal that does not end is a refusal all the same', { timeout: 20_000 }, async (t) => {
  const silent = await peer(t, Buffer.from('not now'), 'is silent', { ':status': 503 })
  await t.rejects(openStream(target(silent), new Map(), never), { cause: { message: /503.*did not say/ } })
  const endless = await peer(t, Buffer.from('not now '.repeat(1000)), 'is silent', { ':status': 503 })
  await t.rejects(openStream(target(endless), new Map(), never), { cause: { message: /503: not now not now/ } })
})

t.test('a stream that nobody begins to read is closed with its connection', { timeout: 20_000 }, async (t) => {
  const closed: Promise<unknown>[] = []
  const server = http2.createServer()
  server.on('session', (session) => closed.push(once(session, 'close')))
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200 })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const left = new AbortController()
  await openStream(target(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), new Map(), left.signal)
  left.abort()
  await Promise.all(closed)
  t.equal(closed.length, 1)
})

t.test('a follower connects again after each end, until it is told to stop', async (t) => {
  const bytes = Buffer.concat([encodeFrame({ type: 'ready' }), encodeFrame({ type: 'end' })])
  const url = await peer(t, bytes, 'ends', { 'litefs-cluster-id': 'LFSC00000000000000AA' })
  const stop = new AbortController()
  const { events, parts } = recorder()
  const joined: (string | undefined)[] = []
  const connect = (_: unknown, signal: AbortSignal) => openStream(target(url), new Map(), signal)
  const ready = () => {
    parts.ready()
    if (events.length === 3) stop.abort()
  }
  const followerParts = {
    ...parts,
    ready,
    connect,
    positions: async () => new Map(),
    join: ({ clusterId }: { clusterId: string | undefined }) => joined.push(clusterId),
    heard: () => {},
    prepare: async () => {},
    failing: () => {},
  }
  const options = { directory: t.testdir(), memoryBytes: 1000, reconnectDelayMs: 5 }
  t.equal(await follow(followerParts, options, silent, stop.signal), undefined)
  t.strictSame([events, joined], [Array(3).fill('ready'), Array(3).fill('LFSC00000000000000AA')])
})

t.test('a handed-off lease ends the following', async (t) => {
  const url = await peer(t, encodeFrame({ type: 'handoff', leaseId: 'abc' }), 'is silent')
  const { parts } = recorder()
  const connect = (_: unknown, signal: AbortSignal) => openStream(target(url), new Map(), signal)
  const followerParts = {
    ...parts,
    connect,
    positions: async () => new Map(),
    join: () => {},
    heard: () => {},
    prepare: async () => {},
    failing: () => {},
  }
  const options = { directory: t.testdir(), memoryBytes: 1000, reconnectDelayMs: 5 }
  t.strictSame(await follow(followerParts, options, silent, never), { type: 'handoff', leaseId: 'abc' })
})

t.test('what cannot be applied is told at once, though the peer says nothing more', { timeout: 20_000 }, async (t) => {
  const url = await peer(t, framed('a.db', fixture('v3-block-snapshot.ltx')), 'is silent')
  const { parts } = recorder()
  const stop = new AbortController()
  const reasons: (string | undefined)[] = []
  const followerParts = {
    ...parts,
    connect: (_: unknown, signal: AbortSignal) => openStream({ ...target(url), silenceMs: 60_000 }, new Map(), signal),
    positions: async () => new Map(),
    join: () => {},
    heard: () => {},
    apply: () => Promise.reject(new Error('no space')),
    prepare: async () => {},
    failing: (reason: string | undefined) => {
      reasons.push(reason)
      stop.abort()
    },
  }
  await follow(followerParts, { directory: t.testdir(), memoryBytes: 1000, reconnectDelayMs: 5 }, silent, stop.signal)
  t.match(reasons, ['no space'])
})
