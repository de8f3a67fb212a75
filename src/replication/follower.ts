import { setTimeout as delay } from 'node:timers/promises'
import { describeError, type Log } from '../log.js'
import { LostPeerError } from './error.js'
import type { ReceiverOptions } from './incoming-file.js'
import { Outage } from './outage.js'
import type { PositionMap } from './position-map.js'
import { type ReplicaParts, receiveStream, type StreamEnd } from './receiver.js'

/** One stream from the primary, open until the iteration ends or is left. */
export interface OpenedStream {
  /** The primary's; undefined when it has none. */
  readonly clusterId: string | undefined
  /** Of its lease; undefined where it counts none. */
  readonly epoch: bigint | undefined
  readonly bytes: AsyncIterable<Uint8Array>
}

export interface FollowerParts extends ReplicaParts {
  /** Before each stream, which begins with the positions that there are then. */
  prepare(signal: AbortSignal): Promise<void>
  /** Opens a stream from these positions. Rejects when the primary refuses or is not there. */
  connect(positions: PositionMap, signal: AbortSignal): Promise<OpenedStream>
  /** Where this node stands. */
  positions(): Promise<PositionMap>
  /** Joins the primary's cluster. Throws when this node belongs to another, or has heard of a later lease. */
  join(stream: Pick<OpenedStream, 'clusterId' | 'epoch'>): void
  /** Its stream is open, or is not any more. */
  heard(isHeard: boolean): void
  /** Why this node cannot take what the primary sends; undefined once it can again. A primary that is not there is no reason. */
  failing(reason: string | undefined): void
}

export interface FollowerOptions extends ReceiverOptions {
  /** Pause before the first new attempt, milliseconds; doubled up to LONGEST_PAUSES times that, each made up to half longer by chance. */
  readonly reconnectDelayMs: number
}

/** Pauses grow up to this many times the first. */
const LONGEST_PAUSES = 8
/** A stream that was ready for so long, milliseconds, has ended the outage before it. */
const HEALED_MS = 1000

/**
 * Follows a primary until the signal, with a new stream whenever one ends. Resolves early only when the primary hands its lease to this node.
 * A stream that went well for a while makes the next pause short again.
 */
export async function follow(
  parts: FollowerParts,
  options: FollowerOptions,
  log: Log,
  signal: AbortSignal,
): Promise<StreamEnd | undefined> {
  const outage = new Outage(log, HEALED_MS, () => {
    ends = 0
    parts.failing(undefined)
  })
  let ends = 0
  while (!signal.aborted) {
    try {
      const end = await followOnce(parts, options, outage, signal)
      if (end.type === 'handoff') return end
      log.info('the primary has ended the stream')
      parts.heard(false)
    } catch (error) {
      if (signal.aborted) break
      parts.heard(false)
      outage.failed(error, performance.now())
      if (!(error instanceof LostPeerError)) parts.failing(describeError(error))
    }
    const pauses = Math.min(LONGEST_PAUSES, 2 ** ends++)
    await pause(options.reconnectDelayMs * pauses * (1 + Math.random() / 2), signal)
  }
  outage.stop()
  return undefined
}

async function followOnce(
  parts: FollowerParts,
  options: FollowerOptions,
  outage: Outage,
  signal: AbortSignal,
): Promise<StreamEnd> {
  await parts.prepare(signal)
  // A stream of which something could not be applied may still be waiting for the primary's next word.
  const left = new AbortController()
  const stream = await parts.connect(await parts.positions(), AbortSignal.any([signal, left.signal]))
  const own: ReplicaParts = {
    apply: (name, ltx) => parts.apply(name, ltx),
    ready: () => {
      outage.succeeded()
      parts.ready()
    },
    heartbeat: (timestampMs) => parts.heartbeat(timestampMs),
    highWater: (name, txid) => parts.highWater(name, txid),
  }
  try {
    parts.join(stream)
    parts.heard(true)
    return await receiveStream(stream.bytes, own, options)
  } finally {
    left.abort()
  }
}

/** Ends early, without an error, with the signal. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch((error: Error) => {
    if (error.name !== 'AbortError') throw error
  })
}
