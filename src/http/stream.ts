import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { describeError, type Log } from '../log.js'
import { ConnectedReplica, type ReplicaFacts } from '../replication/connected-replicas.js'
import { ProtocolError } from '../replication/error.js'
import { decodePositionMap, MAX_POSITION_MAP_BYTES, type PositionMap } from '../replication/position-map.js'
import { sendStream } from '../replication/sender.js'
import { RequestError, textOf } from './answers.js'
import { departureOf } from './departure.js'
import type { Metrics } from './metrics.js'
import type { NodeView } from './node-view.js'
import { replicaOf } from './replica-request.js'
import {
  ADVERTISE_URL_HEADER,
  CANDIDATE_HEADER,
  EPOCH_HEADER,
  HOSTNAME_HEADER,
  LTX_VERSION_HEADER,
} from './stream-headers.js'

/** Silence after which a heartbeat is sent, milliseconds, as in LiteFS. */
const HEARTBEAT_MS = 1000
const NOT_PRIMARY = 'Cannot stream: this node is not the primary'

export interface StreamParts {
  readonly metrics: Metrics
  readonly log: Log
  /** Ends all streams. */
  readonly signal: AbortSignal
  /** Streams that have not ended. */
  readonly streams: Set<Promise<void>>
}

/** POST /stream: everything that happens to the databases, from where a replica says it stands. HTTP/2 only. */
export function addStream(app: FastifyInstance, view: NodeView, parts: StreamParts): void {
  app.post('/stream', async (request, reply) => {
    const replicaId = refuseEarly(request, view)
    // Otherwise it would count as connected until the next heartbeat.
    const gone = departureOf(reply)
    const positions = await readPositions(request)
    const filter = new Set((textOf(request.query, 'filter') ?? '').split(',').filter((name) => name !== ''))
    const release = await view.source.follow()
    // Reading its request took time.
    const serving = view.serving()
    if (serving === undefined || gone.aborted) {
      release()
      throw new RequestError(503, gone.aborted ? 'Cannot stream: the replica has gone' : NOT_PRIMARY)
    }
    const version = request.headers[LTX_VERSION_HEADER] === '3' ? 3 : 1
    const replica = new ConnectedReplica({ nodeId: replicaId, ...factsOf(request) }, wantedOf(positions, filter))
    const bytes = sendStream(view.source, positions, {
      filter,
      replica,
      version,
      compress: view.compress,
      heartbeatMs: HEARTBEAT_MS,
      snapshotTimeoutMs: view.snapshotTimeoutMs,
      signal: AbortSignal.any([parts.signal, serving.signal, gone]),
      onFrame: (db, type) => parts.metrics.frames.inc({ db, type }),
    })
    view.replicas.add(replica)
    const leave = () => {
      release()
      view.replicas.remove(replica)
    }
    if (serving.epoch !== undefined) reply.header(EPOCH_HEADER, String(serving.epoch))
    return track(request, reply, { bytes, replicaId, release: leave, parts })
  })
}

/** What the replica has of the databases that it wants. */
function wantedOf(positions: PositionMap, filter: ReadonlySet<string>): PositionMap {
  return filter.size === 0 ? positions : new Map([...positions].filter(([name]) => filter.has(name)))
}

interface OpenStream {
  readonly bytes: AsyncGenerator<Buffer, void>
  readonly replicaId: string
  readonly release: () => void
  readonly parts: StreamParts
}

function track(request: FastifyRequest, reply: FastifyReply, open: OpenStream): FastifyReply {
  const { bytes, replicaId, release, parts } = open
  const { metrics, log, streams } = parts
  const stream = Readable.from(bytes, { objectMode: false, highWaterMark: 64 << 10 })
  const peer = `${replicaId} (${request.ip})`
  log.info(`stream connected: ${peer}`)
  metrics.streamCount.inc()
  let failure: Error | undefined
  stream.on('error', (error) => {
    failure = error
    // Without an error HTTP/2 would end the stream as if it were complete.
    reply.raw.destroy(error)
  })
  reply.raw.on('close', () => stream.destroy())
  const closed = new Promise<void>((resolve) => {
    stream.on('close', () => {
      metrics.streamCount.dec()
      release()
      if (failure === undefined) log.info(`stream disconnected: ${peer}`)
      else log.error(`stream to ${peer} is cut: ${describeError(failure)}`)
      resolve()
    })
  })
  streams.add(closed)
  void closed.then(() => streams.delete(closed))
  return reply.type('application/octet-stream').send(stream)
}

/** Returns the replica's id. Throws RequestError. */
function refuseEarly(request: FastifyRequest, view: NodeView): string {
  if (request.raw.httpVersionMajor < 2) throw new RequestError(426, 'Cannot stream: upgrade to HTTP/2 is required')
  return replicaOf(request, view, 'stream')
}

/** As it is where it is not encoded as it should be. */
function decodedText(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    if (error instanceof URIError) return text
    throw error
  }
}

function factsOf({ headers, ip }: FastifyRequest): ReplicaFacts {
  const text = (name: string) => String(headers[name] ?? '')
  return {
    address: ip,
    hostname: decodedText(text(HOSTNAME_HEADER)),
    advertiseUrl: text(ADVERTISE_URL_HEADER),
    isCandidate: text(CANDIDATE_HEADER) === 'true',
  }
}

async function readPositions(request: FastifyRequest): Promise<PositionMap> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request.raw) {
    const bytes: Buffer = chunk
    size += bytes.length
    if (size > MAX_POSITION_MAP_BYTES) {
      throw new RequestError(413, `Cannot read position map: it has more than ${MAX_POSITION_MAP_BYTES} bytes`)
    }
    chunks.push(bytes)
  }
  try {
    return decodePositionMap(Buffer.concat(chunks))
  } catch (error) {
    if (error instanceof ProtocolError) throw new RequestError(400, error.message)
    throw error
  }
}
