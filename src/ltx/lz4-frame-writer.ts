import { blockBound, lz4 } from './lz4.js'
import { FRAME_HEADER, MAX_BLOCK_SIZE, STORED } from './lz4-frame.js'
import { Xxh32 } from './xxh32.js'

const SIZE_FIELD = 4

/** The block being written. One for all frames: each is done with it before it returns. */
const compressed = Buffer.allocUnsafe(SIZE_FIELD + blockBound(MAX_BLOCK_SIZE))

/**
 * An LZ4 frame with the header that Go's ltx writes: independent blocks of 64 KiB, a content checksum. Holds one block.
 * What it hands to `put` is valid until that returns.
 */
export class Lz4FrameWriter {
  readonly #put: (bytes: Uint8Array) => void
  readonly #content = new Xxh32()
  readonly #block = Buffer.allocUnsafe(MAX_BLOCK_SIZE)
  #used = 0

  /** Writes the frame's header. */
  constructor(put: (bytes: Uint8Array) => void) {
    this.#put = put
    put(FRAME_HEADER)
  }

  write(data: Uint8Array): void {
    for (let at = 0; at < data.length; ) {
      const size = Math.min(data.length - at, MAX_BLOCK_SIZE - this.#used)
      this.#block.set(data.subarray(at, at + size), this.#used)
      this.#used += size
      at += size
      if (this.#used === MAX_BLOCK_SIZE) this.#flush()
    }
  }

  /** Last call. */
  end(): void {
    if (this.#used > 0) this.#flush()
    const end = Buffer.alloc(2 * SIZE_FIELD)
    end.writeUInt32LE(this.#content.digest(), SIZE_FIELD)
    this.#put(end)
  }

  #flush(): void {
    const block = this.#block.subarray(0, this.#used)
    this.#content.update(block)
    this.#used = 0
    const size = lz4.compress(block, compressed, SIZE_FIELD)
    if (size < block.length) {
      compressed.writeUInt32LE(size, 0)
      this.#put(compressed.subarray(0, SIZE_FIELD + size))
    } else {
      // A block may not be larger than what it holds: then it is stored as it is.
      compressed.writeUInt32LE(STORED + block.length, 0)
      compressed.set(block, SIZE_FIELD)
      this.#put(compressed.subarray(0, SIZE_FIELD + block.length))
    }
  }
}
