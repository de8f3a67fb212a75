import { LtxError } from './error.js'
import type { FileCrc } from './file-crc.js'
import { LtxInput } from './input.js'
import { Lz4FrameSource, MAX_BLOCK_SIZE } from './lz4-frame.js'
import type { LtxPage, PageBlock } from './page-block.js'

/** u32 page number; zero ends the pages. */
export const PAGE_HEADER_SIZE = 4

/** Pages of version 1 (LiteFS): raw, one after another; with FLAG_LZ4 all of them inside one LZ4 frame. No index. */
export class PagesV1 implements PageBlock {
  readonly #pages: LtxInput
  readonly #compressed: boolean
  readonly #pageSize: number
  readonly #crc: FileCrc

  constructor(input: LtxInput, compressed: boolean, pageSize: number, crc: FileCrc) {
    this.#pages = compressed ? new LtxInput(new Lz4FrameSource(input, Buffer.allocUnsafe(MAX_BLOCK_SIZE))) : input
    this.#compressed = compressed
    this.#pageSize = pageSize
    this.#crc = crc
  }

  next(): LtxPage | undefined {
    const offset = this.#compressed ? 0 : this.#pages.position
    const header = this.#pages.take(PAGE_HEADER_SIZE, 'page header')
    this.#crc.update(header)
    const pgno = header.readUInt32BE(0)
    if (pgno === 0) return undefined
    const data = this.#pages.take(this.#pageSize, 'page')
    this.#crc.update(data)
    return { pgno, data, offset, size: this.#compressed ? 0 : PAGE_HEADER_SIZE + this.#pageSize }
  }

  end(): void {
    if (this.#compressed && !this.#pages.atEnd()) {
      throw new LtxError('Cannot read LTX file: data follows the end of its pages')
    }
  }
}
