import { crc64Update, ltxReadPage } from '../native.js'
import { checksumFromHalves } from './checksum.js'

// One for all files: handing a young typed array to the addon costs more than hashing a page.
const state = new Uint32Array(2)

/** The CRC-64/ISO of a file in the making, in halves. */
export class FileCrc {
  #hi = 0
  #lo = 0

  /** Adds `data`. */
  update(data: Uint8Array, end: number = data.length): void {
    state[0] = this.#hi
    state[1] = this.#lo
    crc64Update(state, data, 0, end)
    this.#hi = state[0]
    this.#lo = state[1]
  }

  /** Adds the page frame at the start of `source[start, end)` and inflates it; see ltxReadPage for what it returns. */
  readPage(source: Uint8Array, start: number, end: number, page: Uint8Array): number {
    state[0] = this.#hi
    state[1] = this.#lo
    const size = ltxReadPage(source, start, end, state, page)
    this.#hi = state[0]
    this.#lo = state[1]
    return size
  }

  /** The file checksum: top bit set. */
  checksum(): bigint {
    return checksumFromHalves(this.#hi, this.#lo)
  }
}
