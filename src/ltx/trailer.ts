import { CHECKSUM_FLAG } from './checksum.js'
import { LtxError } from './error.js'
import { type LtxHeader, tracksChecksums } from './header.js'
import { formatTxid } from './names.js'

export const TRAILER_SIZE = 16
/** The file checksum covers the trailer up to here: it cannot cover itself. */
export const FILE_CHECKSUM_OFFSET = 8

/** Last 16 bytes of a file. */
export interface LtxTrailer {
  /** Database checksum after this file; zero if checksums are not tracked. */
  postApplyChecksum: bigint
  /** CRC-64/ISO of the file with its pages uncompressed, top bit set. */
  fileChecksum: bigint
}

/** The trailer's 16 bytes, its file checksum still to come (putFileChecksum): it covers the first 8 of them. */
export function encodeTrailer(postApplyChecksum: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(TRAILER_SIZE)
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, postApplyChecksum)
  return bytes
}

/** Completes what encodeTrailer began. */
export function putFileChecksum(trailer: Buffer, fileChecksum: bigint): void {
  new DataView(trailer.buffer, trailer.byteOffset).setBigUint64(FILE_CHECKSUM_OFFSET, fileChecksum)
}

/** Reads a trailer at `offset`; 16 bytes must be there. Meaning: checkTrailer. */
export function decodeTrailer(bytes: Uint8Array, offset = 0): LtxTrailer {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, TRAILER_SIZE)
  return { postApplyChecksum: view.getBigUint64(0), fileChecksum: view.getBigUint64(FILE_CHECKSUM_OFFSET) }
}

/** Checks the post-apply checksum's form against the header. Throws LtxError. */
export function checkPostApply(header: LtxHeader, checksum: bigint): void {
  const reason = postApplyFault(header, checksum)
  if (reason !== undefined) throw new LtxError(`Invalid LTX trailer: ${reason}`)
}

function postApplyFault(header: LtxHeader, checksum: bigint): string | undefined {
  if (!tracksChecksums(header)) return checksum === 0n ? undefined : 'a post-apply checksum where none is tracked'
  if (checksum < CHECKSUM_FLAG) return `post-apply checksum ${formatTxid(checksum)} lacks its top bit`
  if (header.commit === 0 && checksum !== CHECKSUM_FLAG) return 'a drop must leave the checksum of an empty database'
  return undefined
}
