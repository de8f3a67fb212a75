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
    for (let i = 0; i < count; i++) {
      this.set(firstPgno + i, values[2 * (index + i)] ?? 0, values[2 * (index + i) + 1] ?? 0)
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
