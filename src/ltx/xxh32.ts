import { strict as assert } from 'node:assert'

// The five primes of XXH32 (xxHash specification, "XXH32 algorithm description").
const PRIME1 = 0x9e3779b1
const PRIME2 = 0x85ebca77
const PRIME3 = 0xc2b2ae3d
const PRIME4 = 0x27d4eb2f
const PRIME5 = 0x165667b1
const STRIPE = 16

/** XXH32 with seed 0, in pieces: the content checksum of LZ4 frames. */
export class Xxh32 {
  readonly #lanes = new Int32Array([PRIME1 + PRIME2, PRIME2, 0, -PRIME1])
  readonly #rest = Buffer.alloc(STRIPE)
  #restSize = 0
  #length = 0

  update(data: Uint8Array): void {
    this.#length += data.length
    let at = 0
    if (this.#restSize > 0) {
      at = Math.min(STRIPE - this.#restSize, data.length)
      this.#rest.set(data.subarray(0, at), this.#restSize)
      this.#restSize += at
      if (this.#restSize < STRIPE) return
      this.#stripes(this.#rest, 0, STRIPE)
    }
    const end = data.length - ((data.length - at) % STRIPE)
    this.#stripes(data, at, end)
    this.#rest.set(data.subarray(end), 0)
    this.#restSize = data.length - end
  }

  /** The hash of everything so far, unsigned. */
  digest(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#lanes
    let hash = this.#length >= STRIPE ? rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18) : PRIME5
    hash = (hash + this.#length) | 0
    let at = 0
    for (; at + 4 <= this.#restSize; at += 4) {
      hash = Math.imul(rotate(hash + Math.imul(this.#rest.readInt32LE(at), PRIME3), 17), PRIME4)
    }
    for (; at < this.#restSize; at++) {
      hash = Math.imul(rotate(hash + Math.imul(this.#rest.readUInt8(at), PRIME5), 11), PRIME1)
    }
    hash = Math.imul(hash ^ (hash >>> 15), PRIME2)
    hash = Math.imul(hash ^ (hash >>> 13), PRIME3)
    return (hash ^ (hash >>> 16)) >>> 0
  }

  #stripes(data: Uint8Array, start: number, end: number): void {
    assert((end - start) % STRIPE === 0)
    const view = new DataView(data.buffer, data.byteOffset)
    let [a = 0, b = 0, c = 0, d = 0] = this.#lanes
    for (let at = start; at < end; at += STRIPE) {
      a = round(a, view.getInt32(at, true))
      b = round(b, view.getInt32(at + 4, true))
      c = round(c, view.getInt32(at + 8, true))
      d = round(d, view.getInt32(at + 12, true))
    }
    this.#lanes[0] = a
    this.#lanes[1] = b
    this.#lanes[2] = c
    this.#lanes[3] = d
  }
}

function round(lane: number, input: number): number {
  return Math.imul(rotate(lane + Math.imul(input, PRIME2), 13), PRIME1)
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}
