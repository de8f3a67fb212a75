import type { LtxHeader } from './header.js'

/** What a page is set to. */
export interface PageImage {
  pgno: number
  /** Page size bytes, valid until the next page is read. */
  data: Uint8Array
}

/** What a file says, without its form: read from one, or what several come to. */
export interface LtxReader {
  readonly header: LtxHeader
  /** Only after pages() has ended. */
  readonly trailer: { readonly postApplyChecksum: bigint }
  /** Ascending; once. Throws LtxError; what it has checked holds only once it has ended. */
  pages(): Generator<PageImage, void>
}

/** A page as stored in a file. */
export interface LtxPage extends PageImage {
  /** Where its frame starts in the file and its length there, bytes; 0 where one LZ4 frame holds all pages (version 1). */
  offset: number
  size: number
}

/** How one version of the format stores its pages: everything between header and trailer. Adds what it reads to the file's CRC. */
export interface PageBlock {
  /** The next page, undefined at the end of pages. Leaves the order of pages to the caller. Throws LtxError. */
  next(): LtxPage | undefined
  /** Reads on to the trailer. Throws LtxError. */
  end(): void
}

/** Writes everything between header and trailer, as one version of the format has it. */
export interface PageWriter {
  /** The next page, `data` of page size; neither kept nor changed. Leaves the order of pages to the caller. */
  page(pgno: number, data: Uint8Array): void
  /** Ends the pages; last call. */
  end(): void
}
