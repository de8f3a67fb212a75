import { compressSync, uncompressSync } from 'lz4-napi'
import { LtxError } from './error.js'

/** lz4-napi puts the uncompressed length in front of each block: 4 bytes, little-endian. LTX does not. */
export const LENGTH_PREFIX_SIZE = 4

/** Most bytes that an LZ4 block of `size` bytes can need (LZ4_COMPRESSBOUND of lz4.h). */
export function blockBound(size: number): number {
  return size + Math.floor(size / 255) + 16
}

/**
 * lz4-napi 2.10 gives the memory of compressSync's results back only when the event loop turns. So that a caller who
 * encodes gigabytes without a turn does not hold them all, pages beyond this many bytes a turn are stored as literals.
 */
const BYTES_PER_TURN = 32 * 1024 * 1024

let bytesThisTurn = 0

/** One LZ4 block. Compresses the first 32 MiB between two turns of the event loop, and stores the rest as literals. */
export function compressBlock(data: Uint8Array): Buffer {
  if (bytesThisTurn >= BYTES_PER_TURN) return Buffer.concat([literalPrefix(data.length), data])
  if (bytesThisTurn === 0) {
    setImmediate(() => {
      bytesThisTurn = 0
    })
  }
  bytesThisTurn += data.length
  const input = Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return compressSync(input).subarray(LENGTH_PREFIX_SIZE)
}

/** What must stand before `size` literal bytes to make them an LZ4 block that compresses nothing. `size` is at least 15. */
export function literalPrefix(size: number): Buffer {
  const extra = size - 15
  const prefix = Buffer.alloc(2 + Math.floor(extra / 255), 0xff)
  prefix[0] = 0xf0
  prefix[prefix.length - 1] = extra % 255
  return prefix
}

/**
 * Inflates the LZ4 block in `bytes[start, end)` to at most `limit` bytes (64 KiB at most). Throws LtxError.
 * The 4 bytes before `start` are overwritten: they take the length that lz4-napi wants there.
 */
export function inflateBlock(bytes: Buffer, start: number, end: number, limit: number): Buffer {
  bytes.writeUInt32LE(limit, start - LENGTH_PREFIX_SIZE)
  try {
    return uncompressSync(bytes.subarray(start - LENGTH_PREFIX_SIZE, end))
  } catch (cause) {
    throw new LtxError('Cannot read LTX file: a page does not decompress', { cause })
  }
}
