import { LostPeerError } from './error.js'
import { FrameDecoder } from './frame-decoder.js'
import { IncomingFile, type ReceivedLtx, type ReceiverOptions } from './incoming-file.js'

/** Who is handed what a stream brings. A rejection ends the stream. */
export interface ReplicaParts {
  /** Called in the order of the stream, also before the call before has settled: those of one database must be applied in order. */
  apply(name: string, ltx: ReceivedLtx): Promise<void>
  /** Everything that the primary had when the stream began has been applied. */
  ready(): void
  /** The primary's clock, milliseconds since the epoch: up to there this node lacks nothing. Zero says nothing. */
  heartbeat(timestampMs: number): void
  highWater(name: string, txid: bigint): void
}

/** How a stream ended on purpose. */
export type StreamEnd = { readonly type: 'end' } | { readonly type: 'handoff'; readonly leaseId: string }

/** Bytes, in memory and on the disk, and files that may be in the hands of `apply` before more is read; one that is larger may be alone. */
export interface ApplyLimits {
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly files: number
}

const MAX_APPLYING: ApplyLimits = { memoryBytes: 8 << 20, diskBytes: 256 << 20, files: 1024 }

/**
 * Takes a stream to its end frame. Verifies each file before it hands it over. Rejects with ProtocolError or LtxError when the peer breaks
 * the rules, with LostPeerError when the stream is cut, and with what the bytes or `apply` reject with; what was being received is then
 * forgotten. Nothing is being applied any more when it settles; when `apply` has failed, a read of the bytes may still be going on.
 */
export async function receiveStream(
  bytes: AsyncIterable<Uint8Array>,
  parts: ReplicaParts,
  options: ReceiverOptions,
  limits = MAX_APPLYING,
): Promise<StreamEnd> {
  const decoder = new FrameDecoder()
  const applying = new Applying(parts, limits)
  let incoming: IncomingFile | undefined
  try {
    for await (const chunk of applying.unlessFailed(bytes)) {
      for (const item of decoder.push(chunk)) {
        if (item.type === 'ltx') incoming = new IncomingFile(item.name, options)
        else if (item.type === 'data') incoming?.write(item.bytes)
        else if (item.type === 'dataEnd' && incoming !== undefined) {
          await applying.hand(incoming)
          incoming = undefined
        } else if (item.type === 'ready') applying.afterwards(() => parts.ready())
        else if (item.type === 'heartbeat') applying.afterwards(() => parts.heartbeat(item.timestampMs))
        else if (item.type === 'highWater') applying.afterwards(() => parts.highWater(item.name, item.txid))
        else if (item.type === 'handoff' || item.type === 'end') return await applying.all(item)
      }
    }
    await applying.all(undefined)
  } finally {
    incoming?.discard()
    await applying.settled()
  }
  throw new LostPeerError('Cannot read stream: it was cut before its end frame')
}

/** What was handed over and is not applied yet. */
class Applying {
  readonly #parts: ReplicaParts
  readonly #limits: ApplyLimits
  /** Settles when everything so far has. Rejects with the first failure, and so does everything after it. */
  #last: Promise<void> = Promise.resolve()
  readonly #running = new Set<Promise<void>>()
  #memoryBytes = 0
  #diskBytes = 0
  #room = () => {}
  #failure: Error | undefined
  /** Of whoever waits now. */
  #onFailure: (error: Error) => void = () => {}

  constructor(parts: ReplicaParts, limits: ApplyLimits) {
    this.#parts = parts
    this.#limits = limits
  }

  /** Verifies a file and hands it over, once there is room. */
  async hand(file: IncomingFile): Promise<void> {
    const ltx = await file.verified()
    while (this.#running.size > 0 && !this.#hasRoomFor(file)) {
      await this.#unlessFailed(
        new Promise<void>((resolve) => {
          this.#room = resolve
        }),
      )
    }
    const { memoryBytes, diskBytes } = file
    this.#memoryBytes += memoryBytes
    this.#diskBytes += diskBytes
    const applied = this.#parts.apply(file.name, ltx)
    const done = applied
      .finally(() => {
        this.#memoryBytes -= memoryBytes
        this.#diskBytes -= diskBytes
        this.#running.delete(done)
        file.discard()
        this.#room()
      })
      .catch((error: Error) => this.#fail(error))
    this.#running.add(done)
    this.afterwards(() => applied)
  }

  #hasRoomFor({ memoryBytes, diskBytes }: IncomingFile): boolean {
    const limits = this.#limits
    if (this.#running.size >= limits.files || this.#memoryBytes + memoryBytes > limits.memoryBytes) return false
    return this.#diskBytes + diskBytes <= limits.diskBytes
  }

  /** Calls `tell` when everything before has been applied; never, when something failed. */
  afterwards(tell: () => void | Promise<void>): void {
    this.#last = this.#last.then(tell)
    this.#last.catch((error: Error) => this.#fail(error))
  }

  /** Resolves when everything has been applied. */
  async all<T>(value: T): Promise<T> {
    await this.#last
    return value
  }

  async settled(): Promise<void> {
    await Promise.all(this.#running)
  }

  /** The bytes, until something failed: then that is thrown, without waiting for more. */
  async *unlessFailed(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    const iterator = bytes[Symbol.asyncIterator]()
    let reading = false
    try {
      for (;;) {
        reading = true
        const { done, value } = await this.#unlessFailed(iterator.next())
        reading = false
        if (done === true) return
        yield value
      }
    } finally {
      const left = iterator.return?.()
      // A generator is left only when its read has ended, and that may be when the peer says something again. Our failure does not wait.
      if (reading) left?.catch(() => {})
      else await left
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#onFailure(this.#failure)
  }

  /** Waits for something that is not one of ours; not with Promise.race, which would keep every wait until the end of the stream. */
  #unlessFailed<T>(waited: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#onFailure = reject
      if (this.#failure !== undefined) reject(this.#failure)
      waited.then(resolve, reject)
    })
  }
}
