import type { Applier } from './apply/applier.js'
import type { BringMissing } from './bootstrap.js'
import type { PrimaryView } from './http/node-view.js'
import type { PeerAccess } from './http/peer-access.js'
import { type FollowerFacts, openStream } from './http/stream-client.js'
import { describeError, type Log } from './log.js'
import type { Position } from './ltx/names.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import { follow, type OpenedStream } from './replication/follower.js'
import { type ReceivedLtx, removeLeftovers } from './replication/incoming-file.js'
import type { PositionMap } from './replication/position-map.js'

export interface ReplicaOptions {
  /** Of this node, 16 upper-case hex digits. */
  readonly nodeId: string
  readonly access: PeerAccess
  /** What the primary is told of this node. */
  readonly facts: () => FollowerFacts
  /** Of the cluster that its data belongs to; undefined before it was in one. */
  readonly clusterId: () => string | undefined
  /** Throws when it must not follow the primary that this stream is from. */
  readonly join: (stream: Pick<OpenedStream, 'clusterId' | 'epoch'>) => void
  /** Only these databases; all when it is empty. */
  readonly databases: readonly string[]
  readonly reconnectDelayMs: number
  readonly dataDir: string
  /** Brings what it lacks from elsewhere, before it asks the primary for the rest. */
  readonly bringMissing: BringMissing
  /** It has everything that the primary had. */
  readonly onSynced: () => void
  /** The primary's stream is open, or is not any more. */
  readonly onHeard: (isHeard: boolean) => void
  /** The primary hands its lease to this node, which has been sent everything. */
  readonly onOffered: (leaseId: string) => void
}

/** Where a primary is. */
export interface PrimaryAddress {
  /** As `.primary` tells it. */
  readonly hostname: string
  /** Of its API. */
  readonly url: string
  /** Of its proxy, if it says so. */
  readonly proxyUrl?: string | undefined
}

/** Largest LTX file that is received into memory, bytes; larger ones go through a file. */
const MEMORY_BYTES = 4 << 20
/** Silence after which the primary counts as dead, milliseconds: three of its heartbeats. */
const SILENCE_MS = 3000
/** How late `.lag` may hear of a transaction, milliseconds. */
const TELL_MS = 5

/** What follows a primary: it takes the primary's transactions, while the file-system thread takes none from anybody else (`receive`). */
export class Replica {
  readonly #thread: FileSystemThread
  readonly #applier: Applier
  readonly #options: ReplicaOptions
  readonly #log: Log
  /** What was applied in this role; what the thread tells may be older, since it tells what is durable. */
  readonly #applied = new Map<string, Position>()
  #stopping = new AbortController()
  #following: Promise<unknown> = Promise.resolve()
  #primary: PrimaryAddress | undefined
  #currentMs: number | undefined
  #isSynced = false
  #connected = false
  #failing: string | undefined
  #telling: NodeJS.Timeout | undefined

  /** Throws a system error. */
  constructor(thread: FileSystemThread, applier: Applier, options: ReplicaOptions, log: Log) {
    this.#thread = thread
    this.#applier = applier
    this.#options = options
    this.#log = log
    removeLeftovers(options.dataDir)
  }

  /** Why it cannot serve what the primary has, or never had it yet; undefined when neither. */
  get notReady(): string | undefined {
    if (this.#failing !== undefined) return `cannot take what the primary sends: ${this.#failing}`
    if (this.#isSynced) return undefined
    const { hostname } = this.#primary ?? {}
    return hostname === undefined ? 'there is no primary' : `waiting for the first sync with the primary, ${hostname}`
  }

  get primary(): PrimaryView | undefined {
    if (this.#primary === undefined) return undefined
    return { ...this.#primary, connected: this.#connected, lagMs: this.lagMs }
  }

  /** Milliseconds; undefined before the first sync. */
  get lagMs(): number | undefined {
    return this.#currentMs === undefined ? undefined : Math.max(0, Date.now() - this.#currentMs)
  }

  /** This node has been the primary, and had everything. */
  wasPrimary(): void {
    this.#isSynced = true
    this.#currentMs = Date.now()
  }

  /** Begins to follow, for as long as it takes. Nobody is followed now. */
  start(primary: PrimaryAddress): void {
    const { databases, access, nodeId, facts, clusterId, join, reconnectDelayMs, dataDir, onHeard, bringMissing } =
      this.#options
    this.#primary = primary
    this.#stopping = new AbortController()
    this.#applier.prepare()
    const parts = {
      prepare: async (signal: AbortSignal) => {
        await bringMissing({
          primaryUrl: primary.url,
          positions: await this.positions(),
          signal,
          join: (clusterId) => join({ clusterId, epoch: undefined }),
          apply: (name, ltx) => this.#apply(name, ltx),
        })
      },
      connect: async (positions: PositionMap, signal: AbortSignal) => {
        const target = {
          url: primary.url,
          access,
          nodeId,
          clusterId: clusterId(),
          filter: databases,
          silenceMs: SILENCE_MS,
        }
        const stream = await openStream({ ...target, follower: facts() }, positions, signal)
        return { ...stream, bytes: this.#whileConnected(stream.bytes) }
      },
      positions: () => this.positions(),
      failing: (reason: string | undefined) => {
        this.#failing = reason
      },
      join: (stream: Pick<OpenedStream, 'clusterId' | 'epoch'>) => join(stream),
      heard: (isHeard: boolean) => onHeard(isHeard),
      apply: (name: string, ltx: ReceivedLtx) => this.#apply(name, ltx),
      ready: () => this.#ready(),
      heartbeat: (timestampMs: number) => {
        if (timestampMs > 0) this.#current(timestampMs)
      },
      // Sent for a backup, which this node has none of.
      highWater: () => {},
    }
    const options = { reconnectDelayMs, directory: dataDir, memoryBytes: MEMORY_BYTES }
    this.#following = follow(parts, options, this.#log, this.#stopping.signal).then((end) => {
      if (end?.type === 'handoff') this.#options.onOffered(end.leaseId)
    })
  }

  /** Follows nobody any more. Resolves when what has arrived is applied, or could not be. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#primary = undefined
    await this.#following
    clearTimeout(this.#telling)
    this.#telling = undefined
    this.#failing = undefined
  }

  /** Lets go of the databases but these, to which something is still applied: others are going to write to them. Nobody is followed. */
  async release(late: ReadonlySet<string>): Promise<void> {
    const names = (await this.#thread.ask({ kind: 'databases' })).map(({ name }) => name)
    await Promise.all(names.filter((name) => !late.has(name)).map((name) => this.#applier.release(name)))
    this.#applied.clear()
  }

  /** Where the databases stand, dropped ones included. */
  async positions(): Promise<PositionMap> {
    const statuses = await this.#thread.ask({ kind: 'databases' })
    // One that is new is not told of before it is durable.
    return new Map([...statuses.map(({ name, position }): [string, Position] => [name, position]), ...this.#applied])
  }

  /** Where a database stands is not what was applied last. */
  forget(name: string): void {
    this.#applied.delete(name)
  }

  async #apply(name: string, { header, trailer, body }: ReceivedLtx): Promise<void> {
    const { minTxid, maxTxid, preApplyChecksum, timestamp } = header
    const ltx = { minTxid, maxTxid, preApply: preApplyChecksum, postApply: trailer.postApplyChecksum, body }
    try {
      this.#applied.set(name, await this.#applier.apply(name, ltx))
    } catch (error) {
      // Where it stands now the thread knows.
      this.#applied.delete(name)
      if (this.#stopping.signal.aborted)
        this.#log.warn(`what the last primary has sent of ${name} is not applied: ${describeError(error)}`)
      throw error
    }
    if (this.#isSynced) this.#current(timestamp)
  }

  async *#whileConnected(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    this.#connected = true
    try {
      yield* bytes
    } finally {
      this.#connected = false
      // What has arrived may wait for readers, and another primary must not.
      this.#options.onHeard(false)
    }
  }

  #ready(): void {
    this.#isSynced = true
    this.#options.onSynced()
  }

  #current(timestampMs: number): void {
    this.#currentMs = timestampMs
    // It is told for `.lag` only, and not with each of thousands of transactions.
    this.#telling ??= setTimeout(() => {
      this.#telling = undefined
      void this.#thread.ask({ kind: 'current', timestampMs: this.#currentMs ?? 0 })
    }, TELL_MS)
  }
}
