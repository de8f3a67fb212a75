import { LtxError } from './error.js'
import type { FileCrc } from './file-crc.js'
import { FramedPages } from './framed-pages.js'
import type { LtxInput } from './input.js'
import { blockBound, lz4 } from './lz4.js'
import type { LtxPage, PageBlock } from './page-block.js'
import { expectIndex, PageIndex } from './page-index.js'

/** Page flag: a u32 block size and an LZ4 block follow. Without it, an LZ4 frame does (ltx v0.5.0 and v0.5.1). */
export const BLOCK_FLAG = 0x1
/** u32 page number, u16 flags. */
const PAGE_HEADER_SIZE = 6
/** u32 size of the block that follows. */
const BLOCK_SIZE_FIELD = 4
/** Page header and block size. */
export const BLOCK_HEADER_SIZE = 10
/** A page header of zeros ends the pages. */
export const END_SIZE = PAGE_HEADER_SIZE

/** Pages of version 3: each compressed by itself, a page index behind them. */
export class PagesV3 implements PageBlock {
  readonly #input: LtxInput
  readonly #pageSize: number
  readonly #crc: FileCrc
  readonly #index = new PageIndex()
  readonly #page: Buffer
  readonly #frameBound: number
  #frames: FramedPages | undefined
  #pgno = 0

  constructor(input: LtxInput, pageSize: number, crc: FileCrc) {
    this.#input = input
    this.#pageSize = pageSize
    this.#crc = crc
    this.#page = Buffer.allocUnsafe(pageSize)
    this.#frameBound = BLOCK_HEADER_SIZE + blockBound(pageSize)
  }

  next(): LtxPage | undefined {
    const offset = this.#input.position
    const size = this.#input.takeBy(this.#frameBound, this.#readAtOnce)
    if (size === 0) return this.#nextByParts(offset)
    this.#index.add(this.#pgno, offset, size)
    return { pgno: this.#pgno, data: this.#page, offset, size }
  }

  /** What nearly every page is: one that is at hand, and right. */
  readonly #readAtOnce = (bytes: Buffer, start: number, end: number): number => {
    const size = this.#crc.readPage(bytes, start, end, this.#page)
    if (size > 0) this.#pgno = bytes.readUInt32BE(start)
    return size
  }

  /** The end of pages, what is of another form, and what is wrong. */
  #nextByParts(offset: number): LtxPage | undefined {
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
    expectIndex(this.#index, this.#input, this.#crc)
  }

  #readBlock(pgno: number): Buffer {
    const size = this.#input.peek(BLOCK_SIZE_FIELD)
    const blockSize = size.length === BLOCK_SIZE_FIELD ? size.readUInt32BE(0) : 0
    if (blockSize > blockBound(this.#pageSize)) {
      throw new LtxError(
        `Cannot read LTX file: page ${pgno} of ${this.#pageSize} bytes takes ${blockSize} bytes compressed`,
      )
    }
    const block = this.#input.take(BLOCK_SIZE_FIELD + blockSize, 'page')
    this.#crc.update(block, BLOCK_SIZE_FIELD)
    const data = this.#page
    const inflated = lz4.inflate(block, BLOCK_SIZE_FIELD, block.length, data)
    if (inflated < 0) throw new LtxError('Cannot read LTX file: a page does not decompress')
    if (inflated !== this.#pageSize) {
      throw new LtxError(`Cannot read LTX file: page ${pgno} of ${this.#pageSize} bytes inflates to ${inflated}`)
    }
    return data
  }

  #readFrame(pgno: number): Buffer {
    this.#frames ??= new FramedPages(this.#input, this.#pageSize)
    return this.#frames.next(pgno)
  }
}
