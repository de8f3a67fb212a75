import { strict as assert } from 'node:assert'
import { compressSync, uncompressSync } from 'lz4-napi'
import { lz4Available, lz4Compress, lz4Decompress } from '../native.js'

/** LZ4 blocks as one library makes them. */
export interface Lz4 {
  /** Puts `data` as one block into `target` from `at` on, where blockBound(data.length) bytes are free; returns its bytes. */
  compress(data: Uint8Array, target: Buffer, at: number): number
  /** Inflates the block in `bytes[start, end)` into `target`; returns its bytes, -1 for no block or one larger than `target`. */
  inflate(bytes: Buffer, start: number, end: number, target: Buffer): number
}

/** Most bytes that an LZ4 block of `size` bytes can need (LZ4_COMPRESSBOUND of lz4.h). */
export function blockBound(size: number): number {
  return size + Math.floor(size / 255) + 16
}

/** Puts `data` (15 bytes at least) into `target` as an LZ4 block that compresses nothing; returns its bytes. */
export function storeBlock(data: Uint8Array, target: Buffer, at: number): number {
  const extra = data.length - 15
  const prefix = 2 + Math.floor(extra / 255)
  target.fill(0xff, at, at + prefix)
  target[at] = 0xf0
  target[at + prefix - 1] = extra % 255
  target.set(data, at + prefix)
  return prefix + data.length
}

/** The system's liblz4. */
export const systemLz4: Lz4 = {
  compress(data, target, at) {
    const size = lz4Compress(data, 0, data.length, target, at)
    assert(size > 0, 'a block fits its bound')
    return size
  },

  inflate(bytes, start, end, target) {
    return Math.max(-1, lz4Decompress(bytes, start, end, target))
  },
}

/** lz4-napi puts the uncompressed length in front of each block: 4 bytes, little-endian. LTX does not. */
const LENGTH_PREFIX_SIZE = 4

/**
 * lz4-napi 2.10 gives the memory of compressSync's results back only when the event loop turns. So that a caller who
 * encodes gigabytes without a turn does not hold them all, pages beyond this many bytes a turn are stored as literals.
 */
const BYTES_PER_TURN = 32 * 1024 * 1024

let bytesThisTurn = 0

/** The package lz4-napi, which brings its own LZ4: slower, but it is always there. Compresses 32 MiB a turn and stores the rest. */
export const packagedLz4: Lz4 = {
  compress(data, target, at) {
    if (bytesThisTurn >= BYTES_PER_TURN) return storeBlock(data, target, at)
    if (bytesThisTurn === 0) {
      setImmediate(() => {
        bytesThisTurn = 0
      })
    }
    bytesThisTurn += data.length
    const block = compressSync(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    return block.copy(target, at, LENGTH_PREFIX_SIZE)
  },

  inflate(bytes, start, end, target) {
    const block = Buffer.allocUnsafe(LENGTH_PREFIX_SIZE + end - start)
    block.writeUInt32LE(target.length, 0)
    bytes.copy(block, LENGTH_PREFIX_SIZE, start, end)
    try {
      return uncompressSync(block).copy(target)
    } catch {
      return -1
    }
  },
}

/** What this system has. */
export const lz4 = lz4Available() ? systemLz4 : packagedLz4
