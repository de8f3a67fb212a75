import assert from 'node:assert/strict'

/** Fills `into` from byte `offset` of a file and returns the number of bytes read: fewer than asked for only where the file ends. */
export type ReadAt = (into: Uint8Array, offset: number) => number

/** Upper limit in bytes of what one scan keeps in memory of a file. */
export const MAX_CHUNK_SIZE = 1 << 20

/**
 * Reads a file record by record through the buffer `bytes`, never past byte `end`.
 * `bytes` and `view` show the buffer; what `find` located there is valid until the next call of `find`. No record may be larger than it.
 */
export class ChunkReader {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly #readAt: ReadAt
  readonly #end: number
  #offset = 0
  #length = 0

  constructor(readAt: ReadAt, bytes: Uint8Array, end: number) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#readAt = readAt
    this.#end = end
  }

  /** Position in `bytes` of the `length` bytes at file offset `offset`, or -1 when the file ends before them. */
  find(offset: number, length: number): number {
    assert(length <= this.bytes.length)
    const position = offset - this.#offset
    if (position >= 0 && position + length <= this.#length) return position
    if (offset + length > this.#end) return -1
    this.#fill(offset, length)
    return this.#length >= length ? 0 : -1
  }

  #fill(offset: number, needed: number): void {
    const wanted = Math.min(this.bytes.length, this.#end - offset)
    this.#offset = offset
    this.#length = 0
    while (this.#length < needed) {
      const count = this.#readAt(this.bytes.subarray(this.#length, wanted), offset + this.#length)
      if (count === 0) return
      this.#length += count
    }
  }
}
