import { pageChecksum } from '../native.js'

/** Set in every page, database and file checksum, so that a checksum is never zero; alone, it is an empty database's. */
export const CHECKSUM_FLAG = 1n << 63n

/** SQLite locks the byte at this offset; the page that holds it carries no data (PENDING_BYTE of SQLite's os.h). */
const PENDING_BYTE = 0x40000000

/** Number of the page that is never stored: 262145 for 4096-byte pages. `pageSize` in bytes. */
export function lockPage(pageSize: number): number {
  return Math.floor(PENDING_BYTE / pageSize) + 1
}

/**
 * Checksum from its two 32-bit halves, flag added. For the edges only: loops keep the halves,
 * because bigint arithmetic there is fifty times slower.
 */
export function checksumFromHalves(hi: number, lo: number): bigint {
  return (BigInt((hi | 0x80000000) >>> 0) << 32n) | BigInt(lo >>> 0)
}

/** Upper 32 bits, unsigned. */
export function upperHalf(checksum: bigint): number {
  return Number(checksum >> 32n)
}

/** Lower 32 bits, unsigned. */
export function lowerHalf(checksum: bigint): number {
  return Number(checksum & 0xffffffffn)
}

/** Checksum of one page, flag added; the lock page's counts for nothing in a database's. */
export function checksumOfPage(pgno: number, data: Uint8Array): bigint {
  const halves = new Uint32Array(2)
  pageChecksum(halves, 0, pgno, data, 0, data.length)
  return checksumFromHalves(halves[0] ?? 0, halves[1] ?? 0)
}
