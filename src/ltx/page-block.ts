/** A page as stored in a file. */
export interface LtxPage {
  pgno: number
  /** Page size bytes, valid until the next page is read. */
  data: Uint8Array
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
