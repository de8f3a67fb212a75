import { LtxDecoder } from '../ltx/decoder.js'
import { LtxError } from '../ltx/error.js'
import { decodeHeader, HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import { LtxMerge } from '../ltx/merge.js'
import type { Position } from '../ltx/names.js'
import type { LtxReader } from '../ltx/page-block.js'
import { decodeTrailer, TRAILER_SIZE } from '../ltx/trailer.js'
import { DETECT_SIZE, detectVersion, TAIL_OFFSET } from '../ltx/version.js'
import { type OpenLtxFile, openLtxFile, readLtxSummary } from './ltx-file.js'

/** A whole LTX file, in memory or on disk. */
export type SingleLtx = { readonly bytes: Uint8Array } | { readonly path: string }
/** One, or several consecutive ones in memory that count as one. */
export type LtxBody = SingleLtx | { readonly run: readonly Uint8Array[] }

/**
 * Hands what the file says to `read`, which must be done with it when it returns; may be called again for another pass. A snapshot's
 * database checksum is not computed: whoever received the file has done so. Throws LtxError and system errors.
 */
export function readLtx<T>(body: LtxBody, read: (reader: LtxReader) => T): T {
  const { reader, close } = openLtx(body)
  try {
    return read(reader)
  } finally {
    close()
  }
}

/** The same for who waits while reading: done with it when it settles. The bytes must not change meanwhile. */
export async function readLtxSlowly<T>(body: LtxBody, read: (reader: LtxReader) => Promise<T>): Promise<T> {
  const { reader, close } = openLtx(body)
  try {
    return await read(reader)
  } finally {
    close()
  }
}

function openLtx(body: LtxBody): OpenLtxFile {
  if ('path' in body) return openLtxFile(body.path, { verifyPostApply: false })
  if ('run' in body) return { reader: new LtxMerge(body.run.map(decoderOf)), close: () => {} }
  return { reader: decoderOf(body.bytes), close: () => {} }
}

function decoderOf(file: Uint8Array): LtxDecoder {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength)
  return new LtxDecoder(bytes, { verifyPostApply: false, ...versionOf(bytes) })
}

/** Header and position after it, read without the pages. Throws LtxError and system errors. */
export function summarizeLtx(body: LtxBody): { header: LtxHeader; after: Position } {
  if ('path' in body) {
    const { header, trailer } = readLtxSummary(body.path)
    return { header, after: { txid: header.maxTxid, checksum: trailer.postApplyChecksum } }
  }
  const header = readLtx(body, (reader) => reader.header)
  const last = 'run' in body ? body.run.at(-1) : body.bytes
  if (last === undefined || last.length < HEADER_SIZE + TRAILER_SIZE)
    throw new LtxError('Cannot read LTX file: it ends before its trailer')
  const { postApplyChecksum } = decodeTrailer(last, last.length - TRAILER_SIZE)
  return { header, after: { txid: header.maxTxid, checksum: postApplyChecksum } }
}

/** Each file of a body by itself, with its TXIDs. Throws LtxError and system errors. */
export function filesOf(
  body: LtxBody,
): { readonly minTxid: bigint; readonly maxTxid: bigint; readonly body: LtxBody }[] {
  if (!('run' in body)) return [{ ...txidsOf(summarizeLtx(body).header), body }]
  return body.run.map((bytes) => ({ ...txidsOf(decodeHeader(bytes)), body: { bytes } }))
}

function txidsOf({ minTxid, maxTxid }: LtxHeader): { minTxid: bigint; maxTxid: bigint } {
  return { minTxid, maxTxid }
}

/** Nothing for a file that is too short: the decoder says what it lacks. */
function versionOf(bytes: Buffer): { version?: 1 | 2 | 3 } {
  if (bytes.length < HEADER_SIZE + TAIL_OFFSET) return {}
  const start = bytes.subarray(HEADER_SIZE, HEADER_SIZE + DETECT_SIZE)
  return { version: detectVersion(bytes.readUInt32BE(4), start, bytes.readUInt32BE(bytes.length - TAIL_OFFSET)) }
}
