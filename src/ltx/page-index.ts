import { LtxError } from './error.js'
import type { FileCrc } from './file-crc.js'
import type { LtxInput } from './input.js'

const FIRST_CHUNK_SIZE = 256
const MAX_CHUNK_SIZE = 65536
/** Three varints: page number 5 bytes, offset 8 (below 2^53), size 4. */
const MAX_ENTRY_SIZE = 17

/** A zero where a page number would be, u64 length of all before it. */
const END_SIZE = 1 + 8

/**
 * The page index as it stands in the file, built while pages go by: per page uvarint(page number),
 * uvarint(frame offset), uvarint(frame size), at its end a zero byte and the u64 length. Kept as bytes, at most 17 per page (7 to 11 in practice):
 * millions of entries as objects would not fit in memory.
 */
export class PageIndex {
  readonly #full: Buffer[] = []
  #chunk = Buffer.allocUnsafe(FIRST_CHUNK_SIZE)
  #used = 0
  #length = 0

  /** `offset` and `size` of the page's frame in the file, bytes. */
  add(pgno: number, offset: number, size: number): void {
    if (this.#used + MAX_ENTRY_SIZE > this.#chunk.length) this.#nextChunk()
    const start = this.#used
    let at = putUvarint(this.#chunk, start, pgno)
    at = putUvarint(this.#chunk, at, offset)
    this.#used = putUvarint(this.#chunk, at, size)
    this.#length += this.#used - start
  }

  /** Adds end byte and length and returns all of it in order, in pieces owned by the index. Last call. */
  end(): Buffer[] {
    if (this.#used + END_SIZE > this.#chunk.length) this.#nextChunk()
    const at = this.#used
    this.#chunk.writeUInt16BE(0, at)
    this.#chunk.writeUInt8(0, at + 2)
    this.#chunk.writeUIntBE(this.#length + 1, at + END_SIZE - 6, 6)
    this.#used += END_SIZE
    return [...this.#full, this.#chunk.subarray(0, this.#used)]
  }

  #nextChunk(): void {
    this.#full.push(this.#chunk.subarray(0, this.#used))
    this.#chunk = Buffer.allocUnsafe(Math.min(this.#chunk.length * 4, MAX_CHUNK_SIZE))
    this.#used = 0
  }
}

/** Compares the index in the file with the one of the pages that went by. Throws LtxError. */
export function expectIndex(index: PageIndex, input: LtxInput, crc: FileCrc): void {
  for (const chunk of index.end()) {
    const bytes = input.take(chunk.length, 'page index')
    if (!bytes.equals(chunk)) throw new LtxError('Cannot read LTX file: its page index disagrees with its pages')
    crc.update(bytes)
  }
}

/** Go's unsigned varint: seven bits a byte, low ones first. `value` below 2^53. */
function putUvarint(into: Buffer, offset: number, value: number): number {
  let rest = value
  let at = offset
  while (rest >= 0x80) {
    into[at++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  into[at++] = rest
  return at
}
