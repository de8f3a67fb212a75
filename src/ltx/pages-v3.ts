import { LtxError } from './error.js'
import type { FileCrc } from './file-crc.js'
import type { LtxInput } from './input.js'
import { blockBound, inflateBlock, LENGTH_PREFIX_SIZE } from './lz4.js'
import { Lz4FrameSource } from './lz4-frame.js'
import type { LtxPage, PageBlock } from './page-block.js'
import { PageIndex } from './page-index.js'

/** Page flag: a u32 block size and an LZ4 block follow. Without it, an LZ4 frame does (ltx v0.5.0 and v0.5.1). */
export const BLOCK_FLAG = 0x1
/** u32 page number, u16 flags. */
const PAGE_HEADER_SIZE = 6
/** The same with the block size, u32. */
export const BLOCK_HEADER_SIZE = 10
/** A page header of zeros ends the pages. */
export const END_SIZE = PAGE_HEADER_SIZE

/** Pages of version 3: each compressed by itself, a page index behind them. */
export class PagesV3 implements PageBlock {
  readonly #input: LtxInput
  readonly #pageSize: number
  readonly #crc: FileCrc
  readonly #index = new PageIndex()

  constructor(input: LtxInput, pageSize: number, crc: FileCrc) {
    this.#input = input
    this.#pageSize = pageSize
    this.#crc = crc
  }

  next(): LtxPage | undefined {
    const offset = this.#input.position
    const header = this.#input.take(PAGE_HEADER_SIZE, 'page header')
    this.#crc.update(header)
    const pgno = header.readUInt32BE(0)
    const flags = header.readUInt16BE(4)
    if ((flags & ~BLOCK_FLAG) !== 0 || (pgno === 0 && flags !== 0)) {
      throw new LtxError(`Cannot read LTX file: page ${pgno} has unknown flags 0x${flags.toString(16)}`)
    }
    if (pgno === 0) return undefined

    const data = flags === BLOCK_FLAG ? this.#readBlock(pgno) : this.#readFrame(pgno)
    this.#crc.update(data)
    const size = this.#input.position - offset
    this.#index.add(pgno, offset, size)
    return { pgno, data, offset, size }
  }

  /** Compares the index in the file with the pages that went by. */
  end(): void {
    for (const chunk of this.#index.end()) {
      const bytes = this.#input.take(chunk.length, 'page index')
      if (!bytes.equals(chunk)) throw new LtxError('Cannot read LTX file: its page index disagrees with its pages')
      this.#crc.update(bytes)
    }
  }

  #readBlock(pgno: number): Buffer {
    const size = this.#input.peek(4)
    const blockSize = size.length === 4 ? size.readUInt32BE(0) : 0
    if (blockSize > blockBound(this.#pageSize)) {
      throw new LtxError(
        `Cannot read LTX file: page ${pgno} of ${this.#pageSize} bytes takes ${blockSize} bytes compressed`,
      )
    }
    // The inflater overwrites the block's length, so hash it first.
    const block = this.#input.take(LENGTH_PREFIX_SIZE + blockSize, 'page')
    this.#crc.update(block, LENGTH_PREFIX_SIZE)
    const data = inflateBlock(block, LENGTH_PREFIX_SIZE, block.length, this.#pageSize)
    if (data.length !== this.#pageSize) {
      throw new LtxError(`Cannot read LTX file: page ${pgno} of ${this.#pageSize} bytes inflates to ${data.length}`)
    }
    return data
  }

  #readFrame(pgno: number): Buffer {
    const frame = new Lz4FrameSource(this.#input)
    const data = Buffer.allocUnsafe(this.#pageSize + 1)
    let size = 0
    for (let bytes = -1; bytes !== 0 && size < data.length; size += bytes) bytes = frame.read(data.subarray(size))
    if (size !== this.#pageSize) {
      throw new LtxError(`Cannot read LTX file: page ${pgno} does not inflate to ${this.#pageSize} bytes`)
    }
    return data.subarray(0, size)
  }
}
