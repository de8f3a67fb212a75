import { PageChecksums } from './page-checksums.js'

/** The high half of the checksum of an empty database: only the flag, bit 63 (ltx.md: CHECKSUM_FLAG). */
export const FLAG_HI = 0x80000000

/** What one transaction makes of a database's pages: the state after it, and the checksum of every page it sets. */
export interface Change {
  readonly pageSize: number
  readonly pageCount: number
  readonly txid: bigint
  /** Database checksum, high and low half. */
  readonly hi: number
  readonly lo: number
  readonly pgnos: Uint32Array
  /** Pairs (high, low), one for each entry of `pgnos`. */
  readonly sums: Uint32Array
}

/** Page size, page count, position and page checksums of one database. */
export class PageState {
  pageSize = 0
  pageCount = 0
  txid = 0n
  hi = FLAG_HI
  lo = 0
  readonly checksums = new PageChecksums()

  get checksum(): bigint {
    return (BigInt(this.hi) << 32n) | BigInt(this.lo)
  }

  /** Sets one page's checksum where the pages become known one by one (recovery); page and checksum count as they stand. */
  setPage(pgno: number, hi: number, lo: number): void {
    const old = new Uint32Array(2)
    this.checksums.get(pgno, old, 0)
    this.checksums.set(pgno, hi, lo)
    this.hi = ((this.hi ^ (old[0] ?? 0) ^ hi) | FLAG_HI) >>> 0
    this.lo = (this.lo ^ (old[1] ?? 0) ^ lo) >>> 0
  }

  /**
   * `setPage` of `count` pages from `firstPgno` on, none of which has a checksum yet. `sums` has a pair for each, zeros for the lock page.
   */
  addPages(firstPgno: number, count: number, sums: Uint32Array): void {
    let { hi, lo } = this
    for (let i = 0; i < 2 * count; i += 2) {
      hi ^= sums[i] ?? 0
      lo ^= sums[i + 1] ?? 0
    }
    this.hi = (hi | FLAG_HI) >>> 0
    this.lo = lo >>> 0
    this.checksums.fill(firstPgno, sums, 0, count)
  }

  /** Changes the number of pages where the pages become known one by one; pages that are added have no checksum yet. */
  resize(pageCount: number): void {
    for (let pgno = pageCount + 1; pgno <= this.pageCount; pgno++) this.setPage(pgno, 0, 0)
    this.checksums.truncate(pageCount)
    this.pageCount = pageCount
  }

  /** Applies a change and returns the one that undoes it. */
  apply(change: Change): Change {
    const inverse = this.#inverseOf(change)
    // Under another page size no old checksum counts: the new lock page is none of the pages that the change sets.
    if (change.pageSize !== this.pageSize) this.checksums.truncate(0)
    else if (change.pageCount < this.pageCount) this.checksums.truncate(change.pageCount)
    this.pageSize = change.pageSize
    this.pageCount = change.pageCount
    this.txid = change.txid
    this.hi = change.hi
    this.lo = change.lo
    change.pgnos.forEach((pgno, i) => {
      if (pgno <= change.pageCount) this.checksums.set(pgno, change.sums[2 * i] ?? 0, change.sums[2 * i + 1] ?? 0)
    })
    return inverse
  }

  #inverseOf(change: Change): Change {
    const kept = change.pageSize === this.pageSize ? change.pgnos : new Uint32Array(0)
    const firstDropped = change.pageSize === this.pageSize ? change.pageCount + 1 : 1
    const dropped = Math.max(0, this.pageCount - firstDropped + 1)
    const pgnos = new Uint32Array(kept.length + dropped)
    pgnos.set(kept)
    for (let i = 0; i < dropped; i++) pgnos[kept.length + i] = firstDropped + i
    const sums = new Uint32Array(pgnos.length * 2)
    pgnos.forEach((pgno, i) => {
      this.checksums.get(pgno, sums, i)
    })
    return {
      pageSize: this.pageSize,
      pageCount: this.pageCount,
      txid: this.txid,
      hi: this.hi,
      lo: this.lo,
      pgnos,
      sums,
    }
  }
}
