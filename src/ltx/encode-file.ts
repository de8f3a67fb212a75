import { LtxEncoder, type LtxEncoderOptions } from './encoder.js'
import { FLAG_LZ4 } from './header.js'
import type { LtxReader } from './page-block.js'
import type { LtxTrailer } from './trailer.js'

/** Bytes of a piece; the last one is smaller. */
const CHUNK_SIZE = 65536

/**
 * The file that says what `reader` says, in the version asked for: turns version 1 into 3 and back, and writes down a merge. Yields pieces of
 * 64 KiB that are the caller's to keep, returns the trailer. What `reader` finds wrong is thrown when it is found, after pieces have
 * been handed out: they are a file only once the generator has ended. Throws LtxError also where version 1 cannot say it.
 */
export function* encodeFile(reader: LtxReader, options: LtxEncoderOptions): Generator<Buffer, LtxTrailer> {
  const chunks = new Chunks()
  const encoder = new LtxEncoder((bytes) => chunks.add(bytes), options)
  encoder.header({ ...reader.header, flags: reader.header.flags & ~FLAG_LZ4 })
  for (const { pgno, data } of reader.pages()) {
    encoder.page(pgno, data)
    yield* chunks.takeFull()
  }
  const trailer = encoder.close(reader.trailer.postApplyChecksum)
  yield* chunks.takeFull()
  yield chunks.rest()
  return trailer
}

class Chunks {
  #full: Buffer[] = []
  #last = Buffer.allocUnsafe(CHUNK_SIZE)
  #used = 0

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const size = Math.min(bytes.length - at, CHUNK_SIZE - this.#used)
      this.#last.set(bytes.subarray(at, at + size), this.#used)
      this.#used += size
      at += size
      if (this.#used === CHUNK_SIZE) this.#next()
    }
  }

  takeFull(): Buffer[] {
    const full = this.#full
    if (full.length > 0) this.#full = []
    return full
  }

  rest(): Buffer {
    return this.#last.subarray(0, this.#used)
  }

  #next(): void {
    this.#full.push(this.#last)
    this.#last = Buffer.allocUnsafe(CHUNK_SIZE)
    this.#used = 0
  }
}
