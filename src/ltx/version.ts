import { FLAG_LZ4, type LtxVersion } from './header.js'

/** Bytes behind the header that tell the version. */
export const DETECT_SIZE = 13
/** Where the word that tells version 1 stands, counted from the end of the file. */
export const TAIL_OFFSET = 20

const LZ4_MAGIC = 0x04224d18

/**
 * Tells the version: no field of the format does. `flags` are the header's, `start` the 13 bytes behind it,
 * `tail` the u32 at 20 bytes before the end where the file can be seen whole: the end of pages in version 1 (zero),
 * low half of the index length in the others (never zero). Without it, an uncompressed version 1 file whose first page
 * is an overflow page followed by a page from 65536 to 131071 is taken for version 3, and refused as such.
 */
export function detectVersion(flags: number, start: Buffer, tail?: number): LtxVersion {
  if ((flags & FLAG_LZ4) !== 0) return 1
  if (tail === 0) return 1
  if (start.length < DETECT_SIZE) return 3
  if (start.readUInt32BE(0) === 0) return versionWithoutPages(start)
  if (start.readUInt32BE(4) === LZ4_MAGIC) return 2
  const pageFlags = start.readUInt16BE(4)
  if (pageFlags === 1) return 3
  if (pageFlags === 0 && start.readUInt32BE(6) === LZ4_MAGIC) return 3
  return tail === undefined ? 1 : 3
}

/**
 * Version 1 has its post-apply checksum at 4 and its file checksum at 12; the second has the top bit set even where the first is
 * not tracked. Version 2 has the last byte of its index length (1) at 12.
 */
function versionWithoutPages(start: Buffer): LtxVersion {
  if (start.readUInt8(4) >= 0x80 || start.readUInt8(12) >= 0x80) return 1
  return start.readUInt8(12) === 1 ? 2 : 3
}
