/** Pages that follow each other are collected up to this many bytes: the most that the mount takes in one request. */
const BUFFER_SIZE = 1 << 20

/** Writes the pages of a database file, those that follow each other in one call. */
export class PageWriter {
  readonly #write: (bytes: Uint8Array, offset: number) => void
  readonly #pageSize: number
  readonly #buffer: Buffer
  /** Byte offset in the file of what is collected. */
  #offset = 0
  #used = 0

  /** `write` writes all that it is given. `pageCount`: how many pages there will be at most. */
  constructor(write: (bytes: Uint8Array, offset: number) => void, pageSize: number, pageCount: number) {
    this.#write = write
    this.#pageSize = pageSize
    this.#buffer = Buffer.allocUnsafe(Math.min(BUFFER_SIZE, pageSize * pageCount))
  }

  /** Copies the page. Throws what `write` throws. */
  add(pgno: number, data: Uint8Array): void {
    const offset = (pgno - 1) * this.#pageSize
    if (offset !== this.#offset + this.#used || this.#used + data.length > this.#buffer.length) {
      this.flush()
      this.#offset = offset
    }
    this.#buffer.set(data, this.#used)
    this.#used += data.length
  }

  /** Writes what is collected. Throws what `write` throws. */
  flush(): void {
    if (this.#used > 0) this.#write(this.#buffer.subarray(0, this.#used), this.#offset)
    this.#offset += this.#used
    this.#used = 0
  }
}
