import { blockBound, lz4, storeBlock } from './lz4.js'
import type { LtxOutput } from './output.js'
import type { PageWriter } from './page-block.js'
import { PageIndex } from './page-index.js'
import { BLOCK_FLAG, BLOCK_HEADER_SIZE, END_SIZE } from './pages-v3.js'

const END_OF_PAGES = Buffer.alloc(END_SIZE)
const MAX_PAGE_SIZE = 65536

/** The page frame being written. One for all writers: each is done with it when page() returns. */
const frame = Buffer.allocUnsafe(BLOCK_HEADER_SIZE + blockBound(MAX_PAGE_SIZE))
const frameHeader = frame.subarray(0, BLOCK_HEADER_SIZE)

/** Pages of version 3, each an LZ4 block, and the page index behind them. Holds the index. */
export class PageWriterV3 implements PageWriter {
  readonly #output: LtxOutput
  readonly #compress: boolean
  readonly #index = new PageIndex()

  constructor(output: LtxOutput, compress: boolean) {
    this.#output = output
    this.#compress = compress
  }

  page(pgno: number, data: Uint8Array): void {
    const output = this.#output
    const offset = output.size
    const blockSize = this.#compress
      ? lz4.compress(data, frame, BLOCK_HEADER_SIZE)
      : storeBlock(data, frame, BLOCK_HEADER_SIZE)
    frame.writeUInt32BE(pgno, 0)
    frame.writeUInt16BE(BLOCK_FLAG, 4)
    frame.writeUInt32BE(blockSize, 6)
    output.crc.update(frameHeader)
    output.crc.update(data)
    output.put(frame.subarray(0, BLOCK_HEADER_SIZE + blockSize))
    this.#index.add(pgno, offset, output.size - offset)
  }

  end(): void {
    this.#output.putHashed(END_OF_PAGES)
    for (const chunk of this.#index.end()) this.#output.putHashed(chunk)
  }
}
