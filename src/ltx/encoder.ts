import { strict as assert } from 'node:assert'
import { FileCrc } from './file-crc.js'
import { checkHeader, encodeHeader, type LtxHeader } from './header.js'
import { blockBound, lz4, storeBlock } from './lz4.js'
import { PageIndex } from './page-index.js'
import { PageOrder } from './page-order.js'
import { BLOCK_FLAG, BLOCK_HEADER_SIZE, END_SIZE } from './pages-v3.js'
import { checkPostApply, encodeTrailer, FILE_CHECKSUM_OFFSET, type LtxTrailer, putFileChecksum } from './trailer.js'

const END_OF_PAGES = Buffer.alloc(END_SIZE)
const MAX_PAGE_SIZE = 65536

/** The page frame being written. One for all encoders: each is done with it when page() returns. */
const frame = Buffer.allocUnsafe(BLOCK_HEADER_SIZE + blockBound(MAX_PAGE_SIZE))
const frameHeader = frame.subarray(0, BLOCK_HEADER_SIZE)

/** Takes the file's next bytes. They are valid until it returns. */
export type LtxSink = (chunk: Uint8Array) => void

export interface LtxEncoderOptions {
  /** False stores pages as literal-only LZ4 blocks: 0.4 % larger than raw, and no time spent. */
  compress: boolean
}

interface OpenFile {
  header: LtxHeader
  order: PageOrder
  index: PageIndex
}

/**
 * Writes one version 3 file, front to back: header, page (any number of times, ascending), close.
 * Holds one page and the page index. An illegal header, page or checksum throws LtxError,
 * a call out of turn is an assertion; either way the file is not to be used.
 */
export class LtxEncoder {
  readonly #write: LtxSink
  readonly #compress: boolean
  readonly #crc = new FileCrc()
  #state: 'header' | 'pages' | 'closed' = 'header'
  #file: OpenFile | undefined
  #size = 0

  constructor(write: LtxSink, options: LtxEncoderOptions) {
    this.#write = write
    this.#compress = options.compress
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#size
  }

  /** First call. Throws LtxError on values that do not fit each other. */
  header(header: LtxHeader): void {
    assert(this.#state === 'header', 'the header comes first, once')
    checkHeader(header)
    this.#file = { header, order: new PageOrder(header), index: new PageIndex() }
    this.#state = 'pages'
    this.#putHashed(encodeHeader(header))
  }

  /** One page, `data` of exactly page size; neither kept nor changed. Throws LtxError on a page out of order or bounds. */
  page(pgno: number, data: Uint8Array): void {
    const { header, order, index } = this.#open()
    assert.equal(data.length, header.pageSize)
    order.next(pgno)
    const offset = this.#size
    const blockSize = this.#compress
      ? lz4.compress(data, frame, BLOCK_HEADER_SIZE)
      : storeBlock(data, frame, BLOCK_HEADER_SIZE)
    frame.writeUInt32BE(pgno, 0)
    frame.writeUInt16BE(BLOCK_FLAG, 4)
    frame.writeUInt32BE(blockSize, 6)
    this.#crc.update(frameHeader)
    this.#crc.update(data)
    this.#put(frame.subarray(0, BLOCK_HEADER_SIZE + blockSize))
    index.add(pgno, offset, this.#size - offset)
  }

  /** Last call: writes index and trailer. `postApplyChecksum` is zero where checksums are not tracked. Throws LtxError. */
  close(postApplyChecksum: bigint): LtxTrailer {
    const { header, order, index } = this.#open()
    order.end()
    checkPostApply(header, postApplyChecksum)
    this.#state = 'closed'

    this.#putHashed(END_OF_PAGES)
    for (const chunk of index.end()) this.#putHashed(chunk)
    const trailer = encodeTrailer(postApplyChecksum)
    this.#crc.update(trailer, FILE_CHECKSUM_OFFSET)
    const fileChecksum = this.#crc.checksum()
    putFileChecksum(trailer, fileChecksum)
    this.#put(trailer)
    return { postApplyChecksum, fileChecksum }
  }

  #open(): OpenFile {
    assert(this.#state === 'pages' && this.#file, 'between header and close')
    return this.#file
  }

  #putHashed(bytes: Uint8Array): void {
    this.#crc.update(bytes)
    this.#put(bytes)
  }

  #put(bytes: Uint8Array): void {
    this.#write(bytes)
    this.#size += bytes.length
  }
}
