/** Bytes that are allocated at once. */
const SLAB_SIZE = 256 << 10

/** Hands out memory in pieces of a larger block: allocating each piece by itself costs several microseconds. */
export class Slab {
  #block = Buffer.alloc(0)
  #used = 0

  /** `length` bytes with any content. The block is freed with the last of its pieces. */
  take(length: number): Buffer {
    if (length > SLAB_SIZE / 8) return Buffer.allocUnsafeSlow(length)
    if (this.#used + length > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(SLAB_SIZE)
      this.#used = 0
    }
    this.#used += length
    return this.#block.subarray(this.#used - length, this.#used)
  }
}
