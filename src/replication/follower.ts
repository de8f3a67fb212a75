import { setTimeout as delay } from 'node:timers/promises'
import { describeError, type Log } from '../log.js'
import type { PositionMap } from './position-map.js'
import { type ReceiverOptions, type ReplicaParts, receiveStream, type StreamEnd } from './receiver.js'

/** One stream from the primary, open until the iteration ends or is left. */
export interface OpenedStream {
  /** The primary's; undefined when it has none. */
  readonly clusterId: string | undefined
  readonly bytes: AsyncIterable<Uint8Array>
}

export interface FollowerParts extends ReplicaParts {
  /** Opens a stream from these positions. Rejects when the primary refuses or is not there. */
  connect(positions: PositionMap, signal: AbortSignal): Promise<OpenedStream>
  /** Where this node stands. */
  positions(): Promise<PositionMap>
  /** Joins the primary's cluster. Throws when this node belongs to another. */
  join(clusterId: string | undefined): void
}

export interface FollowerOptions extends ReceiverOptions {
  /** Pause before the first new attempt, milliseconds; doubled up to LONGEST_PAUSES times that, each made up to half longer by chance. */
  readonly reconnectDelayMs: number
}

/** Pauses grow up to this many times the first. */
const LONGEST_PAUSES = 8

/**
 * Follows a primary until the signal, with a new stream whenever one ends. Resolves early only when the primary hands its lease to this node.
 * A stream that was ready once makes the next pause short again.
 */
export async function follow(
  parts: FollowerParts,
  options: FollowerOptions,
  log: Log,
  signal: AbortSignal,
): Promise<StreamEnd | undefined> {
  let failures = 0
  const onReady = () => {
    failures = 0
    parts.ready()
  }
  while (!signal.aborted) {
    try {
      const stream = await parts.connect(await parts.positions(), signal)
      parts.join(stream.clusterId)
      const own: ReplicaParts = {
        apply: (name, ltx) => parts.apply(name, ltx),
        ready: onReady,
        heartbeat: (timestampMs) => parts.heartbeat(timestampMs),
        highWater: (name, txid) => parts.highWater(name, txid),
      }
      const end = await receiveStream(stream.bytes, own, options)
      if (end.type === 'handoff') return end
      log.info('the primary has ended the stream')
    } catch (error) {
      if (signal.aborted) return undefined
      log.warn(`cannot follow the primary: ${describeError(error)}`)
    }
    const pauses = Math.min(LONGEST_PAUSES, 2 ** failures++)
    await pause(options.reconnectDelayMs * pauses * (1 + Math.random() / 2), signal)
  }
  return undefined
}

/** Ends early, without an error, with the signal. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch((error: Error) => {
    if (error.name !== 'AbortError') throw error
  })
}
