import { checkDatabaseName, MAX_NAME_BYTES } from './database-name.js'
import { ProtocolError } from './error.js'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const NO_BYTES = Buffer.alloc(0)

/**
 * Bytes of a connection as they arrive, taken off in pieces of asked sizes. Holds what arrived and was not taken yet: the caller takes
 * all it can after each chunk, so that is less than one chunk and one piece.
 */
export class WireReader {
  #bytes: Buffer = NO_BYTES

  /** Keeps a view of `chunk` until it is taken. */
  push(chunk: Uint8Array): void {
    const view = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    this.#bytes = this.#bytes.length === 0 ? view : Buffer.concat([this.#bytes, view])
  }

  get available(): number {
    return this.#bytes.length
  }

  /** The next `size` bytes, a view of what was pushed; undefined when they have not all arrived. */
  take(size: number): Buffer | undefined {
    if (this.#bytes.length < size) return undefined
    const taken = this.#bytes.subarray(0, size)
    this.#bytes = this.#bytes.subarray(size)
    return taken
  }

  /** Bytes from `offset` on without taking them; undefined when they have not all arrived. */
  peek(offset: number, size: number): Buffer | undefined {
    return this.#bytes.length < offset + size ? undefined : this.#bytes.subarray(offset, offset + size)
  }
}

/** Bytes of `u32 length, text` at `offset`, its length known to be legal; undefined as long as the length has not arrived. */
export function textSize(reader: WireReader, offset: number, what: string): number | undefined {
  const length = reader.peek(offset, 4)?.readUInt32BE(0)
  if (length === undefined) return undefined
  if (length > MAX_NAME_BYTES) {
    throw new ProtocolError(`Cannot read ${what}: it has ${length} bytes, allowed are ${MAX_NAME_BYTES}`)
  }
  return 4 + length
}

/** A database name on the wire. Throws ProtocolError. */
export function decodeName(bytes: Uint8Array): string {
  const name = decodeText(bytes, 'database name')
  checkDatabaseName(name)
  return name
}

/** Throws ProtocolError when it is not UTF-8. */
export function decodeText(bytes: Uint8Array, what: string): string {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    throw new ProtocolError(`Cannot read ${what}: it is not UTF-8`, { cause: error })
  }
}
