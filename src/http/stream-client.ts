import type { Dispatcher } from 'undici'
import { LostPeerError } from '../replication/error.js'
import type { OpenedStream } from '../replication/follower.js'
import { encodePositionMap, type PositionMap } from '../replication/position-map.js'
import type { PeerAccess } from './peer-access.js'
import {
  ADVERTISE_URL_HEADER,
  CANDIDATE_HEADER,
  EPOCH_HEADER,
  HOSTNAME_HEADER,
  LTX_VERSION_HEADER,
  parseEpoch,
} from './stream-headers.js'

export interface StreamTarget {
  /** The primary's advertised URL; only scheme, host and port count. */
  readonly url: string
  readonly access: PeerAccess
  /** Of this node, 16 upper-case hex digits. */
  readonly nodeId: string
  /** Of this node's data; undefined before it was in a cluster. */
  readonly clusterId: string | undefined
  /** What else the primary may know of this node. */
  readonly follower: FollowerFacts
  /** Only these databases; all when it is empty. */
  readonly filter: readonly string[]
  /** Silence after which the primary counts as dead, milliseconds: three heartbeats. */
  readonly silenceMs: number
}

/** What a replica says of itself, which LiteFS' primaries do not read. */
export interface FollowerFacts {
  readonly hostname: string
  readonly advertiseUrl: string
  /** Whether it can be handed the lease. */
  readonly isCandidate: boolean
  /** The highest epoch that it has heard of. */
  readonly epoch: bigint
}

/** Bytes of an answer that refuses the stream. */
const MAX_REASON_BYTES = 4096

/**
 * Opens the stream of a primary. Rejects with LostPeerError, with the primary's reason when it refuses. Leaving the iteration closes the
 * connection; it throws LostPeerError when that is cut or silent.
 */
export async function openStream(
  { url, access, nodeId, clusterId: ownCluster, follower, filter, silenceMs }: StreamTarget,
  positions: PositionMap,
  signal: AbortSignal,
): Promise<OpenedStream> {
  const client = await access.http2(new URL(url).origin, { connectMs: silenceMs, headersMs: silenceMs })
  try {
    const query = filter.length === 0 ? '' : `?filter=${encodeURIComponent(filter.join(','))}`
    const { statusCode, headers, body } = await client.request({
      path: `/stream${query}`,
      method: 'POST',
      headers: {
        ...access.headers,
        'litefs-id': nodeId,
        ...(ownCluster !== undefined && { 'litefs-cluster-id': ownCluster }),
        [LTX_VERSION_HEADER]: '3',
        [EPOCH_HEADER]: String(follower.epoch),
        [HOSTNAME_HEADER]: encodeURIComponent(follower.hostname),
        [ADVERTISE_URL_HEADER]: follower.advertiseUrl,
        [CANDIDATE_HEADER]: String(follower.isCandidate),
      },
      body: encodePositionMap(positions),
      signal,
    })
    if (statusCode !== 200) {
      const what = `the primary at ${url} answered ${statusCode}`
      throw new Error(`${what}: ${(await reasonOf(body, what, silenceMs)).trim()}`)
    }
    // The iteration, which ends the connection, may never begin.
    signal.addEventListener('abort', () => void client.destroy(), { once: true })
    const clusterId = headers['litefs-cluster-id']
    const bytes = closing(client, body, url, silenceMs)
    const epoch = parseEpoch(headers[EPOCH_HEADER])
    return { clusterId: typeof clusterId === 'string' ? clusterId : undefined, epoch, bytes }
  } catch (error) {
    await client.destroy()
    throw new LostPeerError(`Cannot stream from ${url}`, { cause: error })
  }
}

/** As much of what a refusal says as is shown. Rejects when that takes longer than `timeoutMs` milliseconds. */
async function reasonOf(body: Dispatcher.ResponseData['body'], what: string, timeoutMs: number): Promise<string> {
  const chunks: Buffer[] = []
  const timer = setTimeout(
    () => body.destroy(new Error(`${what} and did not say why within ${timeoutMs} ms`)),
    timeoutMs,
  )
  try {
    let size = 0
    for await (const chunk of body) {
      chunks.push(chunk)
      size += chunk.length
      if (size >= MAX_REASON_BYTES) break
    }
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(chunks).toString('utf8', 0, MAX_REASON_BYTES)
}

async function* closing(
  client: Dispatcher,
  body: Dispatcher.ResponseData['body'],
  url: string,
  silenceMs: number,
): AsyncGenerator<Uint8Array, void> {
  let waiting = true
  let heard = 0
  const timer = setTimeout(() => {
    const before = heard
    // Where this process stood still itself, what has arrived meanwhile is read first.
    setImmediate(() => {
      if (waiting && heard === before) body.destroy(new Error(`it said nothing for ${silenceMs} ms`))
    })
  }, silenceMs)
  try {
    for await (const chunk of chunksOf(body, url)) {
      waiting = false
      heard++
      yield chunk
      waiting = true
      timer.refresh()
    }
  } finally {
    clearTimeout(timer)
    await client.destroy()
  }
}

async function* chunksOf(body: Dispatcher.ResponseData['body'], url: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* body
  } catch (error) {
    throw new LostPeerError(`Cannot read the stream from ${url}`, { cause: error })
  }
}
