import { strict as assert } from 'node:assert'
import { LtxError } from './error.js'
import { checkHeader, encodeHeader, FLAG_LZ4, type LtxHeader, tracksChecksums } from './header.js'
import { LtxOutput, type LtxSink } from './output.js'
import type { PageWriter } from './page-block.js'
import { PageOrder } from './page-order.js'
import { PageWriterV1 } from './page-writer-v1.js'
import { PageWriterV3 } from './page-writer-v3.js'
import { checkPostApply, encodeTrailer, FILE_CHECKSUM_OFFSET, type LtxTrailer, putFileChecksum } from './trailer.js'

export interface LtxEncoderOptions {
  /** False takes no time: version 3 then stores pages as literal-only LZ4 blocks (0.4 % larger than raw), version 1 raw. */
  compress: boolean
  /** 3 unless it is for LiteFS, which reads 1 only. */
  version?: 1 | 3
}

interface OpenFile {
  header: LtxHeader
  order: PageOrder
  pages: PageWriter
}

/**
 * Writes one file, front to back: header, page (any number of times, ascending), close.
 * Holds one page and the page index (version 3) or 64 KiB (version 1, compressed). An illegal header, page or checksum
 * throws LtxError, a call out of turn is an assertion; either way the file is not to be used.
 */
export class LtxEncoder {
  readonly #output: LtxOutput
  readonly #compress: boolean
  readonly #version: 1 | 3
  #state: 'header' | 'pages' | 'closed' = 'header'
  #file: OpenFile | undefined

  constructor(write: LtxSink, options: LtxEncoderOptions) {
    this.#output = new LtxOutput(write)
    this.#compress = options.compress
    this.#version = options.version ?? 3
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#output.size
  }

  /** First call. `flags` without FLAG_LZ4, which is set as it is needed. Throws LtxError on values that do not fit each other. */
  header(header: LtxHeader): void {
    assert(this.#state === 'header', 'the header comes first, once')
    checkHeader(header)
    const written = this.#version === 1 ? headerV1(header, this.#compress) : header
    this.#output.putHashed(encodeHeader(written))
    const Pages = this.#version === 1 ? PageWriterV1 : PageWriterV3
    this.#file = { header, order: new PageOrder(header), pages: new Pages(this.#output, this.#compress) }
    this.#state = 'pages'
  }

  /** One page, `data` of exactly page size; neither kept nor changed. Throws LtxError on a page out of order or bounds. */
  page(pgno: number, data: Uint8Array): void {
    const { header, order, pages } = this.#open()
    assert.equal(data.length, header.pageSize)
    order.next(pgno)
    pages.page(pgno, data)
  }

  /** Last call: writes index and trailer. `postApplyChecksum` is zero where checksums are not tracked. Throws LtxError. */
  close(postApplyChecksum: bigint): LtxTrailer {
    const { header, order, pages } = this.#open()
    order.end()
    checkPostApply(header, postApplyChecksum)
    this.#state = 'closed'

    pages.end()
    const trailer = encodeTrailer(postApplyChecksum)
    this.#output.crc.update(trailer, FILE_CHECKSUM_OFFSET)
    const fileChecksum = this.#output.crc.checksum()
    putFileChecksum(trailer, fileChecksum)
    this.#output.put(trailer)
    return { postApplyChecksum, fileChecksum }
  }

  #open(): OpenFile {
    assert(this.#state === 'pages' && this.#file, 'between header and close')
    return this.#file
  }
}

/** The header as LiteFS accepts it: a WAL offset needs a size there, and checksums are always tracked. Throws LtxError. */
function headerV1(header: LtxHeader, compress: boolean): LtxHeader {
  if (!tracksChecksums(header)) {
    throw new LtxError('Cannot write LTX file as version 1: it tracks no checksums, and LiteFS reads no file without')
  }
  const flags = compress ? FLAG_LZ4 : 0
  if (header.walSize > 0) return { ...header, flags }
  return { ...header, flags, walOffset: 0, walSalt1: 0, walSalt2: 0 }
}
