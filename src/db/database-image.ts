import { strict as assert } from 'node:assert'
import { fstatSync, ftruncateSync, readSync } from 'node:fs'
import { CHECKSUM_FLAG, checksumFromHalves, lockPage } from '../ltx/checksum.js'
import { LtxError } from '../ltx/error.js'
import { isSnapshot, tracksChecksums } from '../ltx/header.js'
import { formatTxid } from '../ltx/names.js'
import type { LtxReader } from '../ltx/page-block.js'
import { checksumPages, pageChecksum } from '../native.js'
import { DATABASE_HEADER_SIZE, parseDatabaseHeader } from '../sqlite/database-header.js'
import { PageChecksums } from './page-checksums.js'
import { writeFully } from './write-fully.js'

/**
 * Most pages that one LTX file may leave out beyond the database's previous end. SQLite leaves some (pages freed in the
 * transaction that added them); a file that claims a huge database must cost neither memory nor time.
 */
const MAX_GAP_PAGES = 1 << 20
const SCAN_PAGES = 4096

/**
 * A database file that LTX files are applied to, in place: not for a file that anybody else sees. Keeps a checksum per page,
 * so a file costs its own pages and not a pass over the database. The descriptor stays the caller's.
 */
export class DatabaseImage {
  readonly #fd: number
  readonly #checksums = new PageChecksums()
  readonly #one = new Uint32Array(2)
  #hi = 0
  #lo = 0
  #pageSize = 0
  #pageCount = 0

  private constructor(fd: number) {
    this.#fd = fd
  }

  /** Reads what the file holds: nothing, or a database without WAL or journal. Throws LtxError when it is neither. */
  static async open(fd: number): Promise<DatabaseImage> {
    const image = new DatabaseImage(fd)
    const { size } = fstatSync(fd)
    if (size > 0) await image.#scan(size)
    return image
  }

  /** Pages now. */
  get pageCount(): number {
    return this.#pageCount
  }

  /** Bytes per page; 0 as long as there was no page. */
  get pageSize(): number {
    return this.#pageSize
  }

  /** The database's checksum. */
  get checksum(): bigint {
    return this.#pageCount === 0 ? CHECKSUM_FLAG : checksumFromHalves(this.#hi, this.#lo)
  }

  /**
   * Applies one file, or several that are read as one. Throws LtxError when it is bad or does not belong here; the image is unusable then.
   * Blocks until the file is applied.
   */
  apply(reader: LtxReader): void {
    const { header } = reader
    const tracked = tracksChecksums(header)
    if (tracked && !isSnapshot(header)) this.#expect(header.preApplyChecksum, 'before')
    const replaces = header.pageSize !== this.#pageSize || isSnapshot(header)
    if (replaces) this.#restart(header.pageSize)

    let next = this.#pageCount + 1
    let gap = 0
    for (const page of reader.pages()) {
      gap += this.#fillGap(next, page.pgno, gap)
      writeFully(this.#fd, page.data, (page.pgno - 1) * header.pageSize)
      this.#setChecksum(page.pgno, page.data)
      next = Math.max(next, page.pgno + 1)
    }
    gap += this.#fillGap(next, header.commit + 1, gap)
    if (replaces && gap > 0) {
      throw new LtxError(`Cannot apply LTX file: it changes the page size to ${header.pageSize} and lacks ${gap} pages`)
    }
    this.#resize(header.commit)
    if (tracked) this.#expect(reader.trailer.postApplyChecksum, 'after')
  }

  async #scan(size: number): Promise<void> {
    const start = Buffer.alloc(DATABASE_HEADER_SIZE)
    readSync(this.#fd, start, 0, start.length, 0)
    const pageSize = parseDatabaseHeader(start)?.pageSize
    if (pageSize === undefined || size % pageSize !== 0) {
      throw new LtxError('Cannot apply LTX files: what they would be applied to is not a SQLite database')
    }
    this.#pageSize = pageSize
    this.#pageCount = size / pageSize
    const sums = new Uint32Array(2 * SCAN_PAGES)
    for (let pgno = 1; pgno <= this.#pageCount; pgno += SCAN_PAGES) {
      const count = Math.min(SCAN_PAGES, this.#pageCount - pgno + 1)
      assert.equal(await checksumPages(this.#fd, pageSize, pgno, count, sums, 0), count)
      for (let i = 0; i < count; i++) this.#replaceChecksum(pgno + i, sums[2 * i] ?? 0, sums[2 * i + 1] ?? 0)
    }
  }

  #expect(checksum: bigint, when: string): void {
    if (checksum === this.checksum) return
    const found = formatTxid(this.checksum)
    throw new LtxError(
      `Cannot apply LTX file: the database's checksum ${when} it should be ${formatTxid(checksum)} and is ${found}`,
    )
  }

  #restart(pageSize: number): void {
    this.#resize(0)
    this.#pageSize = pageSize
  }

  /** Accounts for the pages `from` up to `to`, exclusive, that the file does not carry: they read as zeros. Returns how many. */
  #fillGap(from: number, to: number, before: number): number {
    if (from >= to) return 0
    const lock = lockPage(this.#pageSize)
    const gap = to - from - (lock >= from && lock < to ? 1 : 0)
    if (before + gap > MAX_GAP_PAGES) {
      throw new LtxError(`Cannot apply LTX file: it grows the database and lacks ${before + gap} of the new pages`)
    }
    if (gap === 0) return 0
    const zeros = Buffer.alloc(this.#pageSize)
    for (let pgno = from; pgno < to; pgno++) this.#setChecksum(pgno, zeros)
    return gap
  }

  #resize(pageCount: number): void {
    ftruncateSync(this.#fd, pageCount * this.#pageSize)
    for (let pgno = pageCount + 1; pgno <= this.#pageCount; pgno++) this.#replaceChecksum(pgno, 0, 0)
    this.#checksums.truncate(pageCount)
    this.#pageCount = pageCount
  }

  #setChecksum(pgno: number, data: Uint8Array): void {
    pageChecksum(this.#one, 0, pgno, data, 0, data.length)
    this.#replaceChecksum(pgno, this.#one[0] ?? 0, this.#one[1] ?? 0)
  }

  #replaceChecksum(pgno: number, hi: number, lo: number): void {
    if (pgno === lockPage(this.#pageSize)) return
    this.#checksums.get(pgno, this.#one, 0)
    this.#hi ^= (this.#one[0] ?? 0) ^ hi
    this.#lo ^= (this.#one[1] ?? 0) ^ lo
    this.#checksums.set(pgno, hi, lo)
  }
}
