import type { FileCrc } from './file-crc.js'
import { FramedPages } from './framed-pages.js'
import type { LtxInput } from './input.js'
import type { LtxPage, PageBlock } from './page-block.js'
import { expectIndex, PageIndex } from './page-index.js'

/** u32 page number; zero ends the pages. */
const PAGE_HEADER_SIZE = 4

/** Pages of version 2 (Litestream's test releases): an LZ4 frame each, a page index behind them as in version 3. */
export class PagesV2 implements PageBlock {
  readonly #input: LtxInput
  readonly #crc: FileCrc
  readonly #frames: FramedPages
  readonly #index = new PageIndex()

  constructor(input: LtxInput, pageSize: number, crc: FileCrc) {
    this.#input = input
    this.#crc = crc
    this.#frames = new FramedPages(input, pageSize)
  }

  next(): LtxPage | undefined {
    const offset = this.#input.position
    const header = this.#input.take(PAGE_HEADER_SIZE, 'page header')
    this.#crc.update(header)
    const pgno = header.readUInt32BE(0)
    if (pgno === 0) return undefined
    const data = this.#frames.next(pgno)
    this.#crc.update(data)
    const size = this.#input.position - offset
    this.#index.add(pgno, offset, size)
    return { pgno, data, offset, size }
  }

  end(): void {
    expectIndex(this.#index, this.#input, this.#crc)
  }
}
