import { LtxError } from './error.js'
import type { LtxInput, LtxSource } from './input.js'
import { lz4 } from './lz4.js'
import { Xxh32 } from './xxh32.js'

/**
 * The one LZ4 frame header that Go's ltx writes: magic, version 1 with independent blocks and a content
 * checksum (0x64), blocks of 64 KiB (0x40), header checksum.
 */
export const FRAME_HEADER = Buffer.from('04224d186440a7', 'hex')
/** Bytes that one block of such a frame holds at most. */
export const MAX_BLOCK_SIZE = 65536
/** Set in the size field of a block that is not compressed. */
export const STORED = 0x80000000
const BLOCK_SIZE_FIELD = 4

/**
 * The content of an LZ4 frame that starts at the input's position. Once it has returned 0, the input stands
 * behind the frame. Throws LtxError on frames that Go's ltx does not write.
 */
export class Lz4FrameSource implements LtxSource {
  readonly #input: LtxInput
  readonly #buffer: Buffer
  readonly #content = new Xxh32()
  #block: Buffer = Buffer.alloc(0)
  #used = 0
  #done = false

  /** `buffer`, MAX_BLOCK_SIZE bytes, is the source's until it is done. */
  constructor(input: LtxInput, buffer: Buffer) {
    this.#input = input
    this.#buffer = buffer
    if (!input.take(FRAME_HEADER.length, 'LZ4 frame').equals(FRAME_HEADER)) {
      throw new LtxError('Cannot read LTX file: an LZ4 frame has another header than LTX files have')
    }
  }

  read(into: Uint8Array): number {
    while (this.#used === this.#block.length) {
      if (this.#done) return 0
      this.#nextBlock()
    }
    const bytes = Math.min(into.length, this.#block.length - this.#used)
    into.set(this.#block.subarray(this.#used, this.#used + bytes))
    this.#used += bytes
    return bytes
  }

  #nextBlock(): void {
    const field = this.#input.take(BLOCK_SIZE_FIELD, 'LZ4 frame').readUInt32LE(0)
    if (field === 0) {
      this.#end()
      return
    }
    const size = field % STORED
    if (size === 0 || size > MAX_BLOCK_SIZE) throw new LtxError(`Cannot read LTX file: an LZ4 block of ${size} bytes`)
    this.#block = this.#takeBlock(size, field >= STORED)
    this.#used = 0
    this.#content.update(this.#block)
  }

  #takeBlock(size: number, stored: boolean): Buffer {
    const block = this.#input.take(size, 'LZ4 frame')
    const inflated = stored ? block.copy(this.#buffer) : lz4.inflate(block, 0, size, this.#buffer)
    if (inflated < 0) throw new LtxError('Cannot read LTX file: an LZ4 block does not decompress')
    return this.#buffer.subarray(0, inflated)
  }

  #end(): void {
    const expected = this.#input.take(4, 'LZ4 frame').readUInt32LE(0)
    if (this.#content.digest() !== expected) {
      throw new LtxError('Cannot read LTX file: the content checksum of an LZ4 frame is wrong')
    }
    this.#done = true
    this.#block = Buffer.alloc(0)
    this.#used = 0
  }
}
