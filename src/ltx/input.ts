import { LtxError } from './error.js'

/** Where a file's bytes come from, in order. */
export interface LtxSource {
  /** Puts 1 to into.length bytes into `into` and returns how many; 0 at the end. May throw errors of its own. */
  read(into: Uint8Array): number
}

const FIRST_CAPACITY = 16384
/** What the buffer grows to as long as the source fills it. Files that are merged are read at the same time, a hundred and more. */
const MAX_CAPACITY = 65536

/**
 * Reads a source in pieces of asked sizes. Holds one buffer of 16 to 64 KiB, or as large as the largest piece asked for; of bytes
 * that are in memory it hands out parts, and copies nothing.
 */
export class LtxInput implements LtxSource {
  /** Undefined where all is in the buffer, which is somebody else's then. */
  readonly #source: LtxSource | undefined
  #buffer: Buffer
  #start = 0
  #end = 0
  #consumed = 0

  constructor(source: LtxSource | Uint8Array) {
    if (source instanceof Uint8Array) {
      this.#buffer = Buffer.from(source.buffer, source.byteOffset, source.length)
      this.#end = source.length
    } else {
      this.#source = source
      this.#buffer = Buffer.allocUnsafe(FIRST_CAPACITY)
    }
  }

  /** Bytes taken so far: the file offset of the next one. */
  get position(): number {
    return this.#consumed
  }

  /** The next `size` bytes; valid until the next call. `size` is bounded by the caller. Throws LtxError when they are not there. */
  take(size: number, what: string): Buffer {
    if (!this.#fill(size)) throw new LtxError(`Cannot read LTX file: it ends inside its ${what}`)
    const bytes = this.#buffer.subarray(this.#start, this.#start + size)
    this.#start += size
    this.#consumed += size
    return bytes
  }

  /** Up to `size` coming bytes without taking them, fewer at the end; valid until the next call. */
  peek(size: number): Buffer {
    this.#fill(size)
    return this.#buffer.subarray(this.#start, Math.min(this.#start + size, this.#end))
  }

  /** Tries `read` on the bytes that are at hand, `size` at least where there are so many, and takes as many as it returns. */
  takeBy(size: number, read: (bytes: Buffer, start: number, end: number) => number): number {
    this.#fill(size)
    const taken = read(this.#buffer, this.#start, this.#end)
    this.#start += taken
    this.#consumed += taken
    return taken
  }

  read(into: Uint8Array): number {
    const bytes = this.peek(1).length === 0 ? 0 : Math.min(into.length, this.#end - this.#start)
    into.set(this.take(bytes, 'end'))
    return bytes
  }

  /** Whether nothing follows. */
  atEnd(): boolean {
    return !this.#fill(1)
  }

  #fill(size: number): boolean {
    if (this.#end - this.#start >= size) return true
    if (this.#source === undefined) return false
    this.#makeRoom(size)
    while (this.#end < size) {
      const bytes = this.#source.read(this.#buffer.subarray(this.#end))
      if (bytes === 0) return false
      this.#end += bytes
    }
    return true
  }

  #makeRoom(size: number): void {
    const isFull = this.#end === this.#buffer.length
    const capacity = isFull ? Math.min(MAX_CAPACITY, 2 * this.#buffer.length) : this.#buffer.length
    const buffer =
      Math.max(size, capacity) > this.#buffer.length ? Buffer.allocUnsafe(Math.max(size, capacity)) : this.#buffer
    this.#buffer.copy(buffer, 0, this.#start, this.#end)
    this.#buffer = buffer
    this.#end -= this.#start
    this.#start = 0
  }
}
