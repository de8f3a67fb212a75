/** Entries of one chunk: 1,024 pages, 8 KiB of memory. */
const CHUNK_PAGES = 1024

/**
 * One checksum per database page (8 bytes each, as two u32 halves), in chunks so that growing never copies.
 * Page numbers start at 1. A page that was never set has the checksum 0, which is also what the lock page keeps.
 */
export class PageChecksums {
  readonly #chunks: Uint32Array[] = []

  /** Copies the checksum of `pgno` to `out[2 * index]` (high half) and `out[2 * index + 1]` (low half). */
  get(pgno: number, out: Uint32Array, index: number): void {
    const chunk = this.#chunks[Math.floor((pgno - 1) / CHUNK_PAGES)]
    const at = ((pgno - 1) % CHUNK_PAGES) * 2
    out[2 * index] = chunk === undefined ? 0 : (chunk[at] ?? 0)
    out[2 * index + 1] = chunk === undefined ? 0 : (chunk[at + 1] ?? 0)
  }

  set(pgno: number, hi: number, lo: number): void {
    const chunk = this.#chunkOf(pgno)
    const at = ((pgno - 1) % CHUNK_PAGES) * 2
    chunk[at] = hi
    chunk[at + 1] = lo
  }

  /** Copies `count` checksums from `values` (pairs, starting with entry `index`) to the pages from `firstPgno` on. */
  fill(firstPgno: number, values: Uint32Array, index: number, count: number): void {
    for (let done = 0; done < count; ) {
      const { at, pages } = place(firstPgno + done, count - done)
      const from = 2 * (index + done)
      this.#chunkOf(firstPgno + done).set(values.subarray(from, from + 2 * pages), at)
      done += pages
    }
  }

  /** Copies the checksums of `count` pages from `firstPgno` on to `out` (pairs, starting with entry 0). */
  copy(firstPgno: number, count: number, out: Uint32Array): void {
    for (let done = 0; done < count; ) {
      const { at, pages } = place(firstPgno + done, count - done)
      const chunk = this.#chunks[Math.floor((firstPgno + done - 1) / CHUNK_PAGES)]
      if (chunk === undefined) out.fill(0, 2 * done, 2 * (done + pages))
      else out.set(chunk.subarray(at, at + 2 * pages), 2 * done)
      done += pages
    }
  }

  /** Forgets the pages after `pageCount`: their checksums read as 0 again. */
  truncate(pageCount: number): void {
    const chunks = Math.ceil(pageCount / CHUNK_PAGES)
    this.#chunks.length = Math.min(this.#chunks.length, chunks)
    const last = this.#chunks[chunks - 1]
    if (last !== undefined && pageCount % CHUNK_PAGES !== 0) last.fill(0, (pageCount % CHUNK_PAGES) * 2)
  }

  #chunkOf(pgno: number): Uint32Array {
    const index = Math.floor((pgno - 1) / CHUNK_PAGES)
    while (this.#chunks.length <= index) this.#chunks.push(new Uint32Array(CHUNK_PAGES * 2))
    const chunk = this.#chunks[index]
    if (chunk === undefined) throw new RangeError(`page ${pgno} has no checksum chunk`)
    return chunk
  }
}

/** Where in its chunk a page is, and how many of the `wanted` pages from it on are in the same chunk. */
function place(pgno: number, wanted: number): { at: number; pages: number } {
  const within = (pgno - 1) % CHUNK_PAGES
  return { at: 2 * within, pages: Math.min(wanted, CHUNK_PAGES - within) }
}
