import { strict as assert } from 'node:assert'
import { pageChecksum } from '../native.js'
import { checksumFromHalves } from './checksum.js'
import { LtxError } from './error.js'
import { FileCrc } from './file-crc.js'
import {
  checkHeader,
  decodeHeader,
  FLAG_LZ4,
  HEADER_SIZE,
  isSnapshot,
  type LtxHeader,
  type LtxVersion,
  tracksChecksums,
} from './header.js'
import { LtxInput, type LtxSource } from './input.js'
import { formatTxid } from './names.js'
import type { LtxPage, LtxReader, PageBlock } from './page-block.js'
import { PageOrder } from './page-order.js'
import { PagesV1 } from './pages-v1.js'
import { PagesV2 } from './pages-v2.js'
import { PagesV3 } from './pages-v3.js'
import { checkPostApply, decodeTrailer, FILE_CHECKSUM_OFFSET, type LtxTrailer, TRAILER_SIZE } from './trailer.js'
import { DETECT_SIZE, detectVersion } from './version.js'

export interface LtxDecoderOptions {
  /** Recompute a snapshot's post-apply checksum from its pages. False for a caller that does so itself. Default true. */
  verifyPostApply?: boolean
  /** Where it is known; otherwise told from the bytes behind the header. */
  version?: LtxVersion
}

/**
 * Reads one file, front to back, and checks all that can be checked. Pages are handed out before the file checksum at the
 * end has been seen: act on them for good only after pages() has ended. Throws LtxError; errors of the source pass through.
 * Holds one page and the page index.
 */
export class LtxDecoder implements LtxReader {
  readonly header: LtxHeader
  readonly version: LtxVersion
  readonly #input: LtxInput
  readonly #verifyPostApply: boolean
  readonly #crc = new FileCrc()
  #state: 'pages' | 'reading' | 'ended' = 'pages'
  #pageCount = 0
  #trailer: LtxTrailer | undefined

  /** Reads the header. Bytes in memory must not change until all is read. */
  constructor(source: LtxSource | Uint8Array, options: LtxDecoderOptions = {}) {
    this.#input = new LtxInput(source)
    const bytes = this.#input.take(HEADER_SIZE, 'header')
    this.#crc.update(bytes)
    this.header = decodeHeader(bytes)
    const version = options.version ?? detectVersion(this.header.flags, this.#input.peek(DETECT_SIZE))
    this.version = version
    checkHeader(this.header, version)
    this.#verifyPostApply = (options.verifyPostApply ?? true) && isSnapshot(this.header) && tracksChecksums(this.header)
  }

  /** Bytes read so far; the file's size after pages() has ended. */
  get size(): number {
    return this.#input.position
  }

  /** Pages read so far. */
  get pageCount(): number {
    return this.#pageCount
  }

  /** Whether no page follows those that were read. Version 3 only, and where the next four bytes are there. */
  get pagesEnd(): boolean {
    const next = this.#input.peek(4)
    return next.length === 4 && next.readUInt32BE(0) === 0
  }

  /** Only after pages() has ended. */
  get trailer(): LtxTrailer {
    assert(this.#trailer, 'the trailer follows the pages')
    return this.#trailer
  }

  /** The pages, ascending; once. When it ends, the whole file has been checked. */
  *pages(): Generator<LtxPage, void> {
    assert(this.#state === 'pages', 'pages can be read once')
    this.#state = 'reading'
    const { header } = this
    const block = this.#pageBlock()
    const order = new PageOrder(header)
    const sum = new Uint32Array(2)
    const one = new Uint32Array(2)
    for (let page = block.next(); page; page = block.next()) {
      order.next(page.pgno)
      if (this.#verifyPostApply) {
        pageChecksum(one, 0, page.pgno, page.data, 0, page.data.length)
        xorInto(sum, one)
      }
      this.#pageCount++
      yield page
    }
    order.end()
    block.end()
    this.#readTrailer(checksumFromHalves(sum[0] ?? 0, sum[1] ?? 0))
    this.#state = 'ended'
  }

  /** Reads the rest of the file for its checks only. */
  verify(): LtxTrailer {
    const pages = this.pages()
    while (!pages.next().done);
    return this.trailer
  }

  #pageBlock(): PageBlock {
    const { flags, pageSize } = this.header
    switch (this.version) {
      case 1:
        return new PagesV1(this.#input, (flags & FLAG_LZ4) !== 0, pageSize, this.#crc)
      case 2:
        return new PagesV2(this.#input, pageSize, this.#crc)
      case 3:
        return new PagesV3(this.#input, pageSize, this.#crc)
    }
  }

  #readTrailer(computed: bigint): void {
    const bytes = this.#input.take(TRAILER_SIZE, 'trailer')
    this.#crc.update(bytes, FILE_CHECKSUM_OFFSET)
    const trailer = decodeTrailer(bytes)
    const fileChecksum = this.#crc.checksum()
    if (trailer.fileChecksum !== fileChecksum) {
      const found = formatTxid(trailer.fileChecksum)
      throw new LtxError(`Cannot read LTX file: its checksum is ${found}, computed ${formatTxid(fileChecksum)}`)
    }
    checkPostApply(this.header, trailer.postApplyChecksum)
    if (this.#verifyPostApply && trailer.postApplyChecksum !== computed) {
      const found = formatTxid(trailer.postApplyChecksum)
      throw new LtxError(`Cannot read LTX file: its post-apply checksum is ${found}, computed ${formatTxid(computed)}`)
    }
    if (!this.#input.atEnd()) throw new LtxError('Cannot read LTX file: data follows its trailer')
    this.#trailer = trailer
  }
}

function xorInto(sum: Uint32Array, one: Uint32Array): void {
  sum[0] = (sum[0] ?? 0) ^ (one[0] ?? 0)
  sum[1] = (sum[1] ?? 0) ^ (one[1] ?? 0)
}
