import { LtxDecoder } from '../ltx/decoder.js'
import { LtxError } from '../ltx/error.js'
import { HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import type { Position } from '../ltx/names.js'
import { decodeTrailer, TRAILER_SIZE } from '../ltx/trailer.js'
import { DETECT_SIZE, detectVersion, TAIL_OFFSET } from '../ltx/version.js'
import { readLtxSummary, withLtxFile } from './ltx-file.js'

/** A whole LTX file, in memory or on disk. */
export type LtxBody = { readonly bytes: Uint8Array } | { readonly path: string }

/**
 * Hands a decoder on the file to `read`, which must be done with it when it returns; may be called again for another pass. A snapshot's
 * database checksum is not computed: whoever received the file has done so. Throws LtxError and system errors.
 */
export function readLtx<T>(body: LtxBody, read: (decoder: LtxDecoder) => T): T {
  if ('path' in body) return withLtxFile(body.path, { verifyPostApply: false }, read)
  const bytes = Buffer.from(body.bytes.buffer, body.bytes.byteOffset, body.bytes.byteLength)
  let position = 0
  const source = {
    read(into: Uint8Array) {
      const count = Math.min(into.length, bytes.length - position)
      into.set(bytes.subarray(position, position + count))
      position += count
      return count
    },
  }
  return read(new LtxDecoder(source, { verifyPostApply: false, ...versionOf(bytes) }))
}

/** Header and position after it, read without the pages. Throws LtxError and system errors. */
export function summarizeLtx(body: LtxBody): { header: LtxHeader; after: Position } {
  if ('path' in body) {
    const { header, trailer } = readLtxSummary(body.path)
    return { header, after: { txid: header.maxTxid, checksum: trailer.postApplyChecksum } }
  }
  const header = readLtx(body, (decoder) => decoder.header)
  if (body.bytes.length < HEADER_SIZE + TRAILER_SIZE)
    throw new LtxError('Cannot read LTX file: it ends before its trailer')
  const { postApplyChecksum } = decodeTrailer(body.bytes, body.bytes.length - TRAILER_SIZE)
  return { header, after: { txid: header.maxTxid, checksum: postApplyChecksum } }
}

/** Nothing for a file that is too short: the decoder says what it lacks. */
function versionOf(bytes: Buffer): { version?: 1 | 2 | 3 } {
  if (bytes.length < HEADER_SIZE + TAIL_OFFSET) return {}
  const start = bytes.subarray(HEADER_SIZE, HEADER_SIZE + DETECT_SIZE)
  return { version: detectVersion(bytes.readUInt32BE(4), start, bytes.readUInt32BE(bytes.length - TAIL_OFFSET)) }
}
