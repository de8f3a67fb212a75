import assert from 'node:assert/strict'

/** Bytes of a block that is held in memory. */
const BLOCK_SIZE = 4096
/** Blocks that are kept for the next use instead of being freed: 2 MiB. */
const SPARE_BLOCKS = 512

/** Bytes that a run may have. */
const RUN_SIZE = 64 << 10
/** Runs that are kept so: as many databases are written to at the same time, not all that are open. */
const SPARE_RUNS = 8

const NOTHING = Buffer.alloc(0)
const spareBlocks: Buffer[] = []
const spareRuns: Buffer[] = []

/** Writes to a file that are held in memory for now. */
export interface StagedWrites {
  /** Of the file, with these writes. */
  readonly size: number
  /** Memory that they take, bytes. */
  readonly bytes: number
  /** Takes a write; false when it cannot be held. `below` reads the file without the staged writes, zeros where it has nothing. */
  write(data: Uint8Array, offset: number, below: (into: Uint8Array, offset: number) => void): boolean
  /** Whether every byte from `offset` to `end` is here. */
  covers(offset: number, end: number): boolean
  /** Copies what is staged of the `length` bytes at `offset` to `into`, from `start` on. */
  overlay(into: Uint8Array, start: number, length: number, offset: number): void
  /** What is staged, in ascending order and as few pieces as they come in; each is valid until the next is asked for. */
  runs(): Iterable<{ readonly offset: number; readonly data: Uint8Array }>
  /** Frees the memory. The object is not to be used any more. */
  drop(): void
}

/** Writes anywhere in a file, in blocks. */
export class StagedBlocks implements StagedWrites {
  readonly #blocks = new Map<number, Buffer>()
  #size: number

  /** `size` is that of the file below. */
  constructor(size: number) {
    this.#size = size
  }

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#blocks.size * BLOCK_SIZE
  }

  write(data: Uint8Array, offset: number, below: (into: Uint8Array, offset: number) => void): true {
    for (let done = 0; done < data.length; ) {
      const at = offset + done
      const within = at % BLOCK_SIZE
      const length = Math.min(BLOCK_SIZE - within, data.length - done)
      this.#block(at - within, length === BLOCK_SIZE, below).set(data.subarray(done, done + length), within)
      done += length
    }
    this.#size = Math.max(this.#size, offset + data.length)
    return true
  }

  covers(offset: number, end: number): boolean {
    for (let at = offset - (offset % BLOCK_SIZE); at < end; at += BLOCK_SIZE) if (!this.#blocks.has(at)) return false
    return true
  }

  overlay(into: Uint8Array, start: number, length: number, offset: number): void {
    for (let done = 0; done < length; ) {
      const at = offset + done
      const within = at % BLOCK_SIZE
      const count = Math.min(BLOCK_SIZE - within, length - done)
      const block = this.#blocks.get(at - within)
      if (block !== undefined) into.set(block.subarray(within, within + count), start + done)
      done += count
    }
  }

  *runs(): Generator<{ readonly offset: number; readonly data: Uint8Array }> {
    for (const offset of [...this.#blocks.keys()].sort((a, b) => a - b)) {
      const block = this.#blocks.get(offset)
      if (block !== undefined) yield { offset, data: block.subarray(0, Math.min(BLOCK_SIZE, this.#size - offset)) }
    }
  }

  /** Cuts the file to `size` or extends it with zeros. For a file that has nothing below. */
  truncate(size: number): void {
    for (const [offset, block] of this.#blocks) {
      if (offset >= size) this.#free(offset, block)
      else if (offset + BLOCK_SIZE > size) block.fill(0, size - offset)
    }
    this.#size = size
  }

  drop(): void {
    for (const [offset, block] of this.#blocks) this.#free(offset, block)
  }

  #block(offset: number, overwritten: boolean, below: (into: Uint8Array, offset: number) => void): Buffer {
    let block = this.#blocks.get(offset)
    if (block === undefined) {
      block = spareBlocks.pop() ?? Buffer.allocUnsafeSlow(BLOCK_SIZE)
      if (!overwritten) below(block, offset)
      this.#blocks.set(offset, block)
    }
    return block
  }

  #free(offset: number, block: Buffer): void {
    this.#blocks.delete(offset)
    if (spareBlocks.length < SPARE_BLOCKS) spareBlocks.push(block)
  }
}

/** Writes that follow each other without a gap, up to a number of bytes. */
export class StagedRun implements StagedWrites {
  #buffer = spareRuns.pop() ?? Buffer.allocUnsafeSlow(RUN_SIZE)
  readonly #below: number
  #start = 0
  #length = 0

  /** `below` is the size of the file below. */
  constructor(below: number) {
    this.#below = below
  }

  get size(): number {
    return this.#length === 0 ? this.#below : Math.max(this.#below, this.#start + this.#length)
  }

  get bytes(): number {
    return this.#length
  }

  write(data: Uint8Array, offset: number): boolean {
    if (this.#length === 0) this.#start = offset
    const at = offset - this.#start
    if (at < 0 || at > this.#length || at + data.length > this.#buffer.length) return false
    this.#buffer.set(data, at)
    this.#length = Math.max(this.#length, at + data.length)
    return true
  }

  /** Takes back the last `length` bytes. */
  cut(length: number): void {
    this.#length -= length
  }

  /** Where the next byte without a gap would be; undefined while nothing is staged. */
  get end(): number | undefined {
    return this.#length === 0 ? undefined : this.#start + this.#length
  }

  covers(offset: number, end: number): boolean {
    return offset >= this.#start && end <= this.#start + this.#length
  }

  overlay(into: Uint8Array, start: number, length: number, offset: number): void {
    const from = Math.max(offset, this.#start)
    const to = Math.min(offset + length, this.#start + this.#length)
    if (from >= to) return
    into.set(this.#buffer.subarray(from - this.#start, to - this.#start), start + from - offset)
  }

  *runs(): Generator<{ readonly offset: number; readonly data: Uint8Array }> {
    if (this.#length > 0) yield { offset: this.#start, data: this.#buffer.subarray(0, this.#length) }
  }

  drop(): void {
    assert(this.#buffer.length === RUN_SIZE, "a run is dropped once: its memory is somebody else's then")
    if (spareRuns.length < SPARE_RUNS) spareRuns.push(this.#buffer)
    this.#buffer = NOTHING
    this.#length = 0
  }
}
