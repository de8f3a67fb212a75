import { writeFully } from './write-fully.js'

/** Pages that follow each other are collected up to this many bytes: the most that the mount takes in one request. */
const BUFFER_SIZE = 1 << 20

/** Writes the pages of a database file, those that follow each other in one call. */
export class PageWriter {
  readonly #fd: number
  readonly #pageSize: number
  readonly #buffer: Buffer
  /** Byte offset in the file of what is collected. */
  #offset = 0
  #used = 0

  /** `pageCount`: how many pages there will be at most. */
  constructor(fd: number, pageSize: number, pageCount: number) {
    this.#fd = fd
    this.#pageSize = pageSize
    this.#buffer = Buffer.allocUnsafe(Math.min(BUFFER_SIZE, pageSize * pageCount))
  }

  /** Copies the page. Throws a system error. */
  add(pgno: number, data: Uint8Array): void {
    const offset = (pgno - 1) * this.#pageSize
    if (offset !== this.#offset + this.#used || this.#used + data.length > this.#buffer.length) {
      this.flush()
      this.#offset = offset
    }
    this.#buffer.set(data, this.#used)
    this.#used += data.length
  }

  /** Writes what is collected. Throws a system error. */
  flush(): void {
    writeFully(this.#fd, this.#buffer.subarray(0, this.#used), this.#offset)
    this.#offset += this.#used
    this.#used = 0
  }
}
