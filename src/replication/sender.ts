import { CHECKSUM_FLAG } from '../ltx/checksum.js'
import type { LtxHeader } from '../ltx/header.js'
import type { Position } from '../ltx/names.js'
import type { ConnectedReplica } from './connected-replicas.js'
import { END_OF_CHUNKS, encodeChunks, encodeFrame } from './frames.js'
import { type BodyOptions, mergedBytes, snapshotBytes, transactionBytes } from './ltx-bodies.js'
import type { PositionMap } from './position-map.js'
import type { Transaction } from './recent.js'
import type { HeldSnapshot, Source, SourcePosition } from './source.js'

export interface SenderOptions extends BodyOptions {
  /** Only these databases; all when it is empty. */
  readonly filter: ReadonlySet<string>
  /** Longest time a snapshot may take to send, milliseconds; 0 for no limit. */
  readonly snapshotTimeoutMs: number
  /** Silence after which a heartbeat is sent, milliseconds. */
  readonly heartbeatMs: number
  /** Ends the stream with an end frame. */
  readonly signal: AbortSignal
  /** Where the replica is now. */
  readonly replica: ConnectedReplica
  /** Told of each frame that is sent. */
  readonly onFrame: (name: string, type: 'ltx' | 'ltx:snapshot') => void
}

/** Tells a replica that the primary is there, and nothing of how far it is. */
const STILL_HERE = encodeFrame({ type: 'heartbeat', timestampMs: 0 })
/** A piece without bytes: what was gathered is handed on, since the next piece may take long. */
const HAND_ON = Buffer.alloc(0)
const START: Position = { txid: 0n, checksum: 0n }
/** Bytes that are gathered before they are handed on. */
const BATCH_BYTES = 64 << 10
/** Transactions of one database that are sent before another one, which may be behind too, has its turn. */
const TURN = 128
/** Files that are merged for a replica that is far behind: more are open at once, or delay the first byte. */
const MERGE_FILES = 128
/** Bytes of files that are merged, which may be ten times as many of pages: the replica applies what it has while more is on its way. */
const MERGE_BYTES = 8 << 20

/**
 * The bytes of one stream to one replica, for ever: what it lacks, `ready`, then each transaction as it comes. It asks for nothing before
 * the bytes it gave were taken, so a slow replica costs one batch, and the names of the databases in which it is behind. Throws when a
 * database cannot be read; the stream must then be cut without an end frame.
 */
export async function* sendStream(
  source: Source,
  positions: PositionMap,
  options: SenderOptions,
): AsyncGenerator<Buffer, void> {
  const sender = new Sender(source, positions, options)
  try {
    yield* sender.run()
  } finally {
    sender.close()
  }
}

class Sender {
  readonly #source: Source
  readonly #options: SenderOptions
  /** Where the replica will stand when it has taken what was given. */
  readonly #replica: Map<string, Position>
  readonly #highWaters = new Map<string, bigint>()
  #behind: Set<string>
  #wake = () => {}
  readonly #unsubscribe: () => void

  constructor(source: Source, positions: PositionMap, options: SenderOptions) {
    this.#source = source
    this.#options = options
    this.#replica = new Map(positions)
    options.replica.onAsked = () => this.#wake()
    this.#unsubscribe = source.subscribe((name) => this.#changed(name))
    options.signal.addEventListener('abort', this.#onAbort)
    this.#behind = new Set([...source.positions().keys(), ...positions.keys()].filter((name) => this.#wanted(name)))
  }

  close(): void {
    this.#unsubscribe()
    this.#options.signal.removeEventListener('abort', this.#onAbort)
  }

  async *run(): AsyncGenerator<Buffer, void> {
    const { signal } = this.#options
    const start = new Map(this.#source.positions())
    let ready = false
    while (!signal.aborted) {
      const behind = this.#behind
      this.#behind = new Set()
      yield* batched(this.#catchUp(behind))
      // Under writers that never pause a replica may never have everything.
      if (!ready && this.#hasReached(start)) {
        yield Buffer.concat([encodeFrame({ type: 'ready' }), this.#heartbeat()])
        ready = true
      }
      yield* this.#newHighWaters()
      if (this.#behind.size === 0 && this.#hasReached(this.#source.positions())) {
        const { replica } = this.#options
        replica.hasAll()
        const leaseId = replica.offeredLease
        if (leaseId !== undefined) {
          // Nobody knows how much of what was given arrives.
          replica.handedOver()
          yield encodeFrame({ type: 'handoff', leaseId })
          return
        }
      }
      if (this.#behind.size === 0 && !(await this.#somethingNew())) yield this.#heartbeat()
    }
    yield encodeFrame({ type: 'end' })
  }

  /** What the replica need not keep for the backup; a heartbeat late at most. */
  *#newHighWaters(): Generator<Buffer, void> {
    for (const [name, txid] of this.#source.highWaters) {
      if (!this.#wanted(name) || this.#highWaters.get(name) === txid) continue
      this.#highWaters.set(name, txid)
      yield encodeFrame({ type: 'highWater', name, txid })
    }
  }

  readonly #onAbort = () => this.#wake()

  #wanted(name: string): boolean {
    return this.#options.filter.size === 0 || this.#options.filter.has(name)
  }

  #changed(name: string): void {
    if (!this.#wanted(name)) return
    this.#behind.add(name)
    this.#wake()
  }

  /** Resolves to false when nothing happened for as long as a heartbeat. */
  async #somethingNew(): Promise<boolean> {
    if (this.#options.signal.aborted) return true
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), this.#options.heartbeatMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve(true)
      }
    })
  }

  #heartbeat(): Buffer {
    return encodeFrame({ type: 'heartbeat', timestampMs: Date.now() })
  }

  /** Whether the replica has, or has been sent, what there was at these positions. Dropping a database is a transaction too. */
  #hasReached(positions: ReadonlyMap<string, SourcePosition>): boolean {
    for (const [name, { txid }] of positions) {
      if (this.#wanted(name) && (this.#replica.get(name)?.txid ?? 0n) < txid) return false
    }
    return true
  }

  /** One turn for each; who is still behind then gets another one. */
  async *#catchUp(names: ReadonlySet<string>): AsyncGenerator<Buffer, void> {
    for (const name of names) {
      for (let sent = 0; ; sent++) {
        if (this.#options.signal.aborted) return
        if (sent === TURN) {
          this.#behind.add(name)
          break
        }
        const current = this.#source.positions().get(name)
        if (current === undefined) {
          // LiteFS' replicas ignore it; a database that was dropped has a position.
          this.#options.replica.forget(name)
          if (this.#replica.delete(name)) yield encodeFrame({ type: 'drop', name })
          break
        }
        const at = known(this.#replica.get(name) ?? START, current)
        if (at.txid === current.txid) break
        const after = yield* this.#next(name, at, current)
        // Of what is to come the source tells.
        if (after === undefined) break
        this.#replica.set(name, after)
        this.#options.replica.complete(name, after.txid)
      }
    }
  }

  /** Sends what follows `at`, or everything, and returns where that leads; undefined where nothing can be sent yet. */
  async *#next(name: string, at: Position, current: SourcePosition): AsyncGenerator<Buffer, Position | undefined> {
    try {
      const next = at.txid === 0n ? undefined : await this.#source.transaction(name, at.txid + 1n)
      if (next?.preApplyChecksum === at.checksum) return yield* this.#sendFiles(name, next)
    } catch (error) {
      // This stream is cut; the next one would be, too, if it began with them again.
      this.#source.avoidFiles(name, current.txid)
      throw error
    }
    const has = this.#replica.get(name) ?? START
    if (has.txid > 0n) yield* this.#meanwhile(this.#source.prepareFor(name, has), () => {})
    return yield* this.#sendSnapshot(name)
  }

  async *#sendFiles(name: string, next: Transaction): AsyncGenerator<Buffer, Position> {
    const run = await this.#runOfFiles(name, next)
    const bytes = run.length === 1 ? transactionBytes(next, this.#options) : mergedBytes(run, this.#options)
    this.#options.onFrame(name, 'ltx')
    yield* asFrame(name, bytes)
    return run.at(-1)?.after ?? next.after
  }

  /** Transactions that are to be read from files are sent as one; what is in memory goes as it is. */
  async #runOfFiles(name: string, first: Transaction): Promise<Transaction[]> {
    const run = [first]
    let last: Transaction = first
    let bytes = first.size
    while (last.data === undefined && run.length < MERGE_FILES && bytes < MERGE_BYTES) {
      const next = await this.#source.transaction(name, last.after.txid + 1n)
      if (next === undefined || next.data !== undefined || next.preApplyChecksum !== last.after.checksum) break
      run.push(next)
      last = next
      bytes += next.size
    }
    return run
  }

  async *#sendSnapshot(name: string): AsyncGenerator<Buffer, Position | undefined> {
    const held = yield* this.#meanwhile(this.#source.snapshot(name), (late) => late?.release())
    const current = this.#source.positions().get(name)
    try {
      if (current === undefined) return undefined
      // Dropped, but that is not durable yet, and may be followed by anything.
      if (held === undefined && current.checksum !== CHECKSUM_FLAG) return undefined
      const position = held?.pages.position ?? current
      this.#options.replica.snapshot(name, position.txid)
      this.#options.onFrame(name, 'ltx:snapshot')
      const bytes = snapshotBytes(held, this.#snapshotHeader(held, current), this.#options)
      yield* asFrame(name, this.#inTime(name, bytes))
      return position
    } finally {
      held?.release()
    }
  }

  /** Throws when it takes too long, or the stream is to end. */
  async *#inTime(name: string, bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
    const { signal, snapshotTimeoutMs } = this.#options
    const start = performance.now()
    for await (const piece of bytes) {
      signal.throwIfAborted()
      if (snapshotTimeoutMs > 0 && performance.now() - start > snapshotTimeoutMs) {
        throw new Error(
          `Cannot send snapshot of ${name}: it took more than http.snapshot-timeout, ${snapshotTimeoutMs} ms`,
        )
      }
      yield piece
    }
  }

  #snapshotHeader(held: HeldSnapshot | undefined, current: SourcePosition): LtxHeader {
    return {
      flags: 0,
      pageSize: held?.pages.pageSize ?? current.pageSize,
      commit: held?.pages.pageCount ?? 0,
      minTxid: 1n,
      maxTxid: held?.pages.position.txid ?? current.txid,
      timestamp: current.timestampMs,
      preApplyChecksum: 0n,
      walOffset: 0,
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
      nodeId: this.#source.nodeId,
    }
  }

  /**
   * Waits, with heartbeats for our own nodes, which otherwise take the primary for dead. When the stream ends meanwhile, `unwanted` is handed
   * what comes too late.
   */
  async *#meanwhile<T>(waited: Promise<T>, unwanted: (late: T) => void): AsyncGenerator<Buffer, T> {
    const done = waited.then(
      () => true,
      () => true,
    )
    let ended = false
    try {
      for (;;) {
        let timer: NodeJS.Timeout | undefined
        const silence = new Promise<false>((resolve) => {
          timer = setTimeout(() => resolve(false), this.#options.heartbeatMs)
        })
        ended = await Promise.race([done, silence])
        clearTimeout(timer)
        if (ended) return await waited
        this.#options.signal.throwIfAborted()
        if (this.#options.version === 1) continue
        yield STILL_HERE
        yield HAND_ON
      }
    } finally {
      if (!ended) waited.then(unwanted, () => {})
    }
  }
}

/** Where a replica stands in this node's history; at its start when that is not part of it. */
function known(at: Position, current: Position): Position {
  if (at.txid > current.txid) return START
  return at.txid === current.txid && at.checksum !== current.checksum ? START : at
}

/** Joins small pieces, in order; up to HAND_ON at most. */
async function* batched(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let batch: Buffer[] = []
  let size = 0
  for await (const piece of pieces) {
    batch.push(piece)
    size += piece.length
    if (size === 0 || (size < BATCH_BYTES && piece !== HAND_ON)) continue
    yield batch.length === 1 ? piece : Buffer.concat(batch)
    batch = []
    size = 0
  }
  if (size > 0) yield Buffer.concat(batch)
}

async function* asFrame(name: string, bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  yield encodeFrame({ type: 'ltx', name })
  for await (const piece of bytes) yield encodeChunks(piece)
  yield Buffer.from(END_OF_CHUNKS)
}
