import { fileURLToPath } from 'node:url'
import { Applier } from './apply/applier.js'
import { ThreadGate } from './apply/thread-gate.js'
import type { PrimaryView } from './http/node-view.js'
import { openStream } from './http/stream-client.js'
import type { Log } from './log.js'
import type { Position } from './ltx/names.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import { follow } from './replication/follower.js'
import type { PositionMap } from './replication/position-map.js'
import { type ReceivedLtx, removeLeftovers } from './replication/receiver.js'

export interface ReplicaOptions {
  /** Where the primary's API is. */
  readonly primaryUrl: string
  /** The primary's name, as `.primary` tells it. */
  readonly primaryName: string
  /** Of this node, 16 upper-case hex digits. */
  readonly nodeId: string
  /** Of the cluster that its data belongs to; undefined before it was in one. */
  readonly clusterId: () => string | undefined
  /** Throws when it belongs to another. */
  readonly joinCluster: (clusterId: string) => void
  /** Only these databases; all when it is empty. */
  readonly databases: readonly string[]
  readonly reconnectDelayMs: number
  readonly dataDir: string
  readonly mountDir: string
}

/** Largest LTX file that is received into memory, bytes; larger ones go through a file. */
const MEMORY_BYTES = 4 << 20
/** Silence after which the primary counts as dead, milliseconds: three of its heartbeats. */
const SILENCE_MS = 3000
/** How long the applier waits for readers that keep a database in a rollback mode locked, milliseconds. */
const BUSY_TIMEOUT_MS = 60_000
/** How late `.lag` may hear of a transaction, milliseconds. */
const TELL_MS = 5

/** A node that follows a primary: it takes the primary's transactions and makes none of its own. */
export class Replica {
  readonly #thread: FileSystemThread
  readonly #options: ReplicaOptions
  readonly #log: Log
  readonly #applier: Applier
  readonly #closing = new AbortController()
  /** What was applied in this run; what the thread tells may be older, since it tells what is durable. */
  readonly #applied = new Map<string, Position>()
  /** Resolves when this node once had everything that its primary had. */
  readonly synced: Promise<void>
  #following: Promise<unknown> = Promise.resolve()
  #currentMs: number | undefined
  #isSynced = false
  #connected = false
  #failing: string | undefined
  #telling: NodeJS.Timeout | undefined
  #onSynced = () => {}

  /** The thread must take transactions from the primary only (`receive`) and serve the mount before `start`. */
  constructor(thread: FileSystemThread, options: ReplicaOptions, log: Log) {
    this.#thread = thread
    this.#options = options
    this.#log = log
    this.synced = new Promise((resolve) => {
      this.#onSynced = resolve
    })
    this.#applier = new Applier({
      dir: options.mountDir,
      script: fileURLToPath(new URL('./apply/main.js', import.meta.url)),
      gate: new ThreadGate(thread),
      log,
      sync: false,
      busyTimeoutMs: BUSY_TIMEOUT_MS,
    })
  }

  /** Why it cannot serve what the primary has, or never had it yet; undefined when neither. */
  get notReady(): string | undefined {
    if (this.#failing !== undefined) return `cannot take what the primary sends: ${this.#failing}`
    return this.#isSynced ? undefined : `waiting for the first sync with the primary, ${this.#options.primaryName}`
  }

  get primary(): PrimaryView {
    const { primaryName: hostname, primaryUrl: url } = this.#options
    return { hostname, url, connected: this.#connected, lagMs: this.lagMs }
  }

  /** Milliseconds; undefined before the first sync. */
  get lagMs(): number | undefined {
    return this.#currentMs === undefined ? undefined : Math.max(0, Date.now() - this.#currentMs)
  }

  /** Begins to follow, for as long as it takes. Throws a system error. */
  start(): void {
    const { primaryName, primaryUrl, databases, nodeId, clusterId, joinCluster, reconnectDelayMs, dataDir } =
      this.#options
    this.#log.info(`existing primary found (${primaryName}), connecting as replica to "${primaryUrl}"`)
    removeLeftovers(dataDir)
    const target = { url: primaryUrl, nodeId, filter: databases, silenceMs: SILENCE_MS }
    const parts = {
      connect: async (positions: PositionMap, signal: AbortSignal) => {
        const stream = await openStream({ ...target, clusterId: clusterId() }, positions, signal)
        return { ...stream, bytes: this.#whileConnected(stream.bytes) }
      },
      positions: () => this.#positions(),
      failing: (reason: string | undefined) => {
        this.#failing = reason
      },
      // A primary that is in no cluster yet is LiteFS' with a static lease.
      join: (id: string | undefined) => {
        if (id !== undefined) joinCluster(id)
      },
      apply: (name: string, ltx: ReceivedLtx) => this.#apply(name, ltx),
      ready: () => this.#ready(),
      heartbeat: (timestampMs: number) => this.#current(timestampMs),
      // Sent for a backup, which this node has none of.
      highWater: () => {},
    }
    const options = { reconnectDelayMs, directory: dataDir, memoryBytes: MEMORY_BYTES }
    this.#following = follow(parts, options, this.#log, this.#closing.signal)
  }

  /** Ends the stream and the applier; a transaction that is being applied is finished. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#following
    clearTimeout(this.#telling)
    await this.#applier.close()
  }

  async #positions(): Promise<PositionMap> {
    const statuses = await this.#thread.ask({ kind: 'databases' })
    return new Map(statuses.map(({ name, position }) => [name, this.#applied.get(name) ?? position]))
  }

  async #apply(name: string, { header, trailer, body }: ReceivedLtx): Promise<void> {
    const { minTxid, maxTxid, preApplyChecksum, timestamp } = header
    const ltx = { minTxid, maxTxid, preApply: preApplyChecksum, postApply: trailer.postApplyChecksum, body }
    try {
      this.#applied.set(name, await this.#applier.apply(name, ltx))
    } catch (error) {
      // Where it stands now the thread knows.
      this.#applied.delete(name)
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
    }
  }

  #ready(): void {
    this.#isSynced = true
    this.#onSynced()
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
