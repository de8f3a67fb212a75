/** Pages that one bitmap covers: 1,024 bits in 32 words. */
const CHUNK_PAGES = 1024

/** A set of page numbers kept as sparse bitmaps: 128 bytes per 1,024 neighbouring pages, listed in ascending order. */
export class DirtyPages {
  readonly #chunks = new Map<number, Uint32Array>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(pgno: number): void {
    const index = Math.floor(pgno / CHUNK_PAGES)
    let chunk = this.#chunks.get(index)
    if (chunk === undefined) {
      chunk = new Uint32Array(CHUNK_PAGES / 32)
      this.#chunks.set(index, chunk)
    }
    const bit = pgno % CHUNK_PAGES
    const word = chunk[bit >>> 5] ?? 0
    const mask = 1 << (bit & 31)
    if ((word & mask) !== 0) return
    chunk[bit >>> 5] = word | mask
    this.#size++
  }

  has(pgno: number): boolean {
    const word = this.#chunks.get(Math.floor(pgno / CHUNK_PAGES))?.[(pgno % CHUNK_PAGES) >>> 5] ?? 0
    return (word & (1 << (pgno & 31))) !== 0
  }

  clear(): void {
    this.#chunks.clear()
    this.#size = 0
  }

  *ascending(): Generator<number> {
    for (const index of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const chunk = this.#chunks.get(index)
      if (chunk === undefined) continue
      for (let bit = 0; bit < CHUNK_PAGES; bit++) {
        if (((chunk[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0) yield index * CHUNK_PAGES + bit
      }
    }
  }
}
