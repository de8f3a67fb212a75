// Not LiteFS, but what plays it where its binary cannot be had: the lease in Consul and the stream as LiteFS 0.5 has them. It knows none of our
// headers, writes LTX version 1, reads nothing else, and announces nothing.
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import http2 from 'node:http2'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { FrameDecoder } from '../../src/replication/frame-decoder.js'
import { END_OF_CHUNKS, encodeChunks, encodeFrame } from '../../src/replication/frames.js'
import { decodePositionMap, encodePositionMap } from '../../src/replication/position-map.js'
import { FakeLitefsDatabase, type FakePosition, START } from './fake-litefs-database.js'
import { FakeLitefsLease } from './fake-litefs-lease.js'
import { type FakeAnswer, type FakeRequest, type FakeServer, startFakeServer } from './fake-litefs-server.js'
import type { LitefsPeer, PeerOptions } from './litefs-peer.js'

const HEARTBEAT_MS = 1000
const RECONNECT_MS = 50
const POLL_MS = 10
const HALT_TTL_MS = 30_000

interface Subscriber {
  readonly nodeId: string
  handoff: string | undefined
}

export class FakeLitefsPeer implements LitefsPeer {
  readonly hostname: string
  readonly url: string
  readonly #options: PeerOptions
  readonly #lease: FakeLitefsLease
  readonly #databases = new Map<string, FakeLitefsDatabase>()
  readonly #subscribers = new Set<Subscriber>()
  #clusterId = ''
  #nodeId = 0n
  #ending = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #server: FakeServer | undefined
  /** The session while it is primary. */
  #session: string | undefined
  #handTo: string | undefined
  #primary: { readonly hostname: string; readonly advertiseUrl: string } | undefined
  #printed = ''
  /** One transaction at a time. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: PeerOptions) {
    this.#options = options
    this.hostname = options.hostname
    this.url = `http://127.0.0.1:${options.port}`
    this.#lease = new FakeLitefsLease({ ...options, advertiseUrl: this.url })
  }

  async start(): Promise<void> {
    // Another one in each run.
    this.#nodeId = randomBytes(8).readBigUInt64BE()
    this.#ending = new AbortController()
    await this.#lease.register()
    const headers = () => ({
      'litefs-id': hex(this.#nodeId),
      ...(this.#clusterId !== '' && { 'litefs-cluster-id': this.#clusterId }),
    })
    this.#server = await startFakeServer(this.#options.port, headers, (request) => this.#answer(request))
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    const session = this.#session
    await this.kill()
    if (session !== undefined) await this.#lease.release(session)
  }

  async kill(): Promise<void> {
    this.#ending.abort()
    await this.#server?.close()
    await this.#running
    await this.#turn
  }

  file(name: string): string {
    return path.join(this.#options.base, name)
  }

  async execute(name: string, sql: string): Promise<string> {
    return await this.#inTurn(async () => {
      if (this.#session === undefined && !/^SELECT/.test(sql)) throw new Error('attempt to write a readonly database')
      return await this.#database(name).execute(sql, this.#nodeId)
    })
  }

  async position(name: string): Promise<{ txid: string; checksum: string }> {
    const { txid, checksum } = this.#database(name).position
    if (!existsSync(this.file(name))) throw new Error(`${name} is not there`)
    return { txid: hex(txid).toLowerCase(), checksum: hex(checksum).toLowerCase() }
  }

  async executeHalted(): Promise<string | undefined> {
    return undefined
  }

  output(): string {
    return this.#printed
  }

  #log(line: string): void {
    this.#printed += `${line}\n`
  }

  #database(name: string): FakeLitefsDatabase {
    const database = this.#databases.get(name) ?? new FakeLitefsDatabase(this.file(name))
    this.#databases.set(name, database)
    return database
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  /** Replica or primary, for ever. */
  async #run(): Promise<void> {
    let handed: string | undefined
    while (!this.#ending.signal.aborted) {
      try {
        handed = await this.#once(handed)
      } catch (error) {
        handed = undefined
        this.#log(`retrying: ${String(error)}`)
      }
      if (handed === undefined) await this.#pause(RECONNECT_MS)
    }
  }

  /** Gives the session that it was handed, when that ended its being a replica. */
  async #once(handed: string | undefined): Promise<string | undefined> {
    const theirs = await this.#lease.clusterId()
    if (theirs !== '' && this.#clusterId !== '' && theirs !== this.#clusterId)
      throw new Error(`lease already initialized with different ID: ${theirs}`)
    const mayLead = theirs === '' || this.#clusterId !== ''
    if (mayLead && handed !== undefined) {
      if (!(await this.#lease.acquireExisting(handed))) throw new Error('cannot acquire existing lease from handoff')
      await this.#lead(handed)
      return undefined
    }
    const info = await this.#lease.primary()
    if (info === undefined) {
      const session = mayLead ? await this.#lease.acquire() : undefined
      if (session !== undefined) await this.#lead(session)
      return undefined
    }
    this.#log(`existing primary found (${info.hostname})`)
    this.#primary = info
    try {
      return await this.#follow(info.advertiseUrl)
    } finally {
      this.#primary = undefined
    }
  }

  async #lead(session: string): Promise<void> {
    if ((await this.#lease.clusterId()) === '') {
      if (this.#clusterId === '') this.#clusterId = `LFSC${hex(randomBytes(8).readBigUInt64BE())}`
      await this.#lease.setClusterId(this.#clusterId)
    }
    this.#session = session
    this.#log('primary lease acquired')
    const renewMs = this.#options.ttlMs / 2
    let renewedMs = Date.now()
    try {
      while (!this.#ending.signal.aborted) {
        const target = [...this.#subscribers].find(({ nodeId }) => nodeId === this.#handTo)
        this.#handTo = undefined
        if (target !== undefined && (await this.#lease.renew(session))) {
          this.#session = undefined
          target.handoff = session
          return this.#log(`handed over to ${target.nodeId}`)
        }
        if (Date.now() - renewedMs >= renewMs) {
          if (!(await this.#lease.renew(session))) return this.#log('primary lease lost')
          renewedMs = Date.now()
        }
        await this.#pause(POLL_MS)
      }
    } finally {
      this.#session = undefined
    }
  }

  async #follow(url: string): Promise<string | undefined> {
    const session = http2.connect(url)
    session.on('error', () => {})
    const { signal } = this.#ending
    const stop = () => session.destroy()
    signal.addEventListener('abort', stop)
    try {
      const headers = { ':method': 'POST', ':path': '/stream', 'litefs-id': hex(this.#nodeId) }
      const stream = session.request(headers)
      stream.on('error', () => {})
      const answered = new Promise<http2.IncomingHttpHeaders>((resolve, reject) => {
        stream.once('response', resolve).once('close', () => reject(new Error('connection closed')))
      })
      const positions = new Map([...this.#databases].map(([name, { position }]) => [name, position]))
      stream.end(encodePositionMap(positions))
      const { ':status': status, 'litefs-cluster-id': cluster = '' } = await answered
      if (Number(status) !== 200) throw new Error(`invalid response: code=${status}`)
      if (this.#clusterId === '') this.#clusterId = String(cluster)
      if (this.#clusterId !== cluster) throw new Error(`primary with a different cluster id: ${cluster}`)
      return await this.#receive(stream)
    } finally {
      signal.removeEventListener('abort', stop)
      session.destroy()
    }
  }

  async #receive(stream: AsyncIterable<Buffer>): Promise<string | undefined> {
    const decoder = new FrameDecoder()
    let name = ''
    let chunks: Buffer[] = []
    for await (const bytes of stream) {
      for (const item of decoder.push(bytes)) {
        if (item.type === 'ltx') ({ name } = item)
        else if (item.type === 'data') chunks.push(Buffer.from(item.bytes))
        else if (item.type === 'dataEnd') {
          const file = Buffer.concat(chunks)
          chunks = []
          await this.#inTurn(() => this.#database(name).apply(file, this.#nodeId))
        } else if (item.type === 'handoff') return item.leaseId
        else if (item.type === 'end') return undefined
      }
    }
    return undefined
  }

  async #answer({ method, url, headers, body }: FakeRequest): Promise<FakeAnswer> {
    const id = String(headers['litefs-id'] ?? '')
    const name = url.searchParams.get('name') ?? ''
    switch (`${method} ${url.pathname}`) {
      case 'GET /info': {
        const { hostname } = this.#session === undefined ? (this.#primary ?? { hostname: '' }) : this
        const info = { clusterID: this.#clusterId, isPrimary: this.#session !== undefined, candidate: true, path: '' }
        return { text: JSON.stringify({ ...info, primary: { hostname } }) }
      }
      case 'POST /stream':
        if (this.#session === undefined) return { status: 503, text: 'not primary' }
        return { stream: this.#stream(id, new Map(decodePositionMap(body))) }
      case 'POST /handoff':
        this.#handTo = url.searchParams.get('nodeID') ?? ''
        if ([...this.#subscribers].some(({ nodeId }) => nodeId === this.#handTo)) return {}
        return { status: 500, text: 'target node is not currently connected' }
      case 'POST /promote':
        return await this.#promote()
      case 'POST /halt': {
        const { txid, checksum } = this.#database(name).position
        const pos = { TXID: hex(txid).toLowerCase(), PostApplyChecksum: hex(checksum).toLowerCase() }
        const expires = new Date(Date.now() + HALT_TTL_MS).toISOString()
        return { text: `{"id":${url.searchParams.get('id')},"pos":${JSON.stringify(pos)},"expires":"${expires}"}\n` }
      }
      case 'DELETE /halt':
        return {}
      case 'POST /tx':
        await this.#inTurn(() => this.#database(name).apply(body, this.#nodeId))
        return {}
      default:
        return { status: 404, text: '404 page not found' }
    }
  }

  async #promote(): Promise<FakeAnswer> {
    if (this.#session !== undefined) return {}
    if (this.#primary === undefined) return { status: 500, text: 'no primary is currently available for handoff' }
    const where = `${this.#primary.advertiseUrl}/handoff?nodeID=${hex(this.#nodeId)}`
    const { ok, status } = await fetch(where, { method: 'POST' })
    return ok ? {} : { status: 500, text: `handoff failed: ${status}` }
  }

  async *#stream(nodeId: string, positions: Map<string, FakePosition>): AsyncGenerator<Buffer, void> {
    const subscriber: Subscriber = { nodeId, handoff: undefined }
    this.#subscribers.add(subscriber)
    let isReady = false
    let toldMs = 0
    try {
      while (this.#session !== undefined || subscriber.handoff !== undefined) {
        for (const [name, database] of this.#databases) {
          for (;;) {
            const next = database.next(positions.get(name) ?? START, this.#nodeId)
            if (next === undefined) break
            yield Buffer.concat([encodeFrame({ type: 'ltx', name }), encodeChunks(next.bytes), END_OF_CHUNKS])
            yield encodeFrame({ type: 'highWater', name, txid: 0n })
            positions.set(name, next.after)
          }
        }
        if (!isReady) yield encodeFrame({ type: 'ready' })
        isReady = true
        if (Date.now() - toldMs >= HEARTBEAT_MS) {
          toldMs = Date.now()
          yield encodeFrame({ type: 'heartbeat', timestampMs: toldMs })
        }
        if (subscriber.handoff !== undefined) {
          yield encodeFrame({ type: 'handoff', leaseId: subscriber.handoff })
          break
        }
        await delay(POLL_MS)
      }
      yield encodeFrame({ type: 'end' })
    } finally {
      this.#subscribers.delete(subscriber)
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#ending.signal }).catch((error: Error) => {
      if (error.name !== 'AbortError') throw error
    })
  }
}

function hex(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(16, '0')
}
