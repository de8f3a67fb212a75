import { LtxError } from './error.js'
import type { LtxInput } from './input.js'
import { Lz4FrameSource, MAX_BLOCK_SIZE } from './lz4-frame.js'

/** Reads pages that are stored in an LZ4 frame each (version 2, and version 3 up to Go's ltx v0.5.1). */
export class FramedPages {
  readonly #input: LtxInput
  readonly #pageSize: number
  readonly #block = Buffer.allocUnsafe(MAX_BLOCK_SIZE)
  /** One byte more than a page, to see what inflates to more. */
  readonly #page: Buffer

  constructor(input: LtxInput, pageSize: number) {
    this.#input = input
    this.#pageSize = pageSize
    this.#page = Buffer.allocUnsafe(pageSize + 1)
  }

  /** The page in the frame that comes next; valid until the next call. Throws LtxError. */
  next(pgno: number): Buffer {
    const frame = new Lz4FrameSource(this.#input, this.#block)
    let size = 0
    for (let bytes = -1; bytes !== 0 && size < this.#page.length; size += bytes) {
      bytes = frame.read(this.#page.subarray(size))
    }
    if (size !== this.#pageSize) {
      throw new LtxError(`Cannot read LTX file: page ${pgno} does not inflate to ${this.#pageSize} bytes`)
    }
    return this.#page.subarray(0, size)
  }
}
