import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { LtxDecoder, type LtxDecoderOptions } from '../ltx/decoder.js'
import { LtxError } from '../ltx/error.js'
import { checkHeader, decodeHeader, HEADER_SIZE, type LtxHeader, type LtxVersion } from '../ltx/header.js'
import { formatLtxName } from '../ltx/names.js'
import type { LtxReader, PageImage } from '../ltx/page-block.js'
import { checkPostApply, decodeTrailer, type LtxTrailer, TRAILER_SIZE } from '../ltx/trailer.js'
import { DETECT_SIZE, detectVersion, TAIL_OFFSET } from '../ltx/version.js'

/** Both ends of a file, read without its pages. */
export interface LtxSummary {
  path: string
  header: LtxHeader
  trailer: LtxTrailer
  /** Bytes. */
  size: number
}

/**
 * Opens the file, hands a decoder on it to `read` and closes it. `read` must be done with the decoder when it returns.
 * LtxErrors get the path in front; errors of the file system pass through.
 */
export function withLtxFile<T>(path: string, options: LtxDecoderOptions, read: (decoder: LtxDecoder) => T): T {
  return withOpenFile(path, (fd) => {
    return read(decoderOf(fd, options))
  })
}

/** A file held open to be read bit by bit; who opened it closes it. */
export interface OpenLtxFile {
  readonly reader: LtxReader
  close(): void
}

/** Opens the file and reads its header. LtxErrors, of its pages too, get the path in front; errors of the file system pass through. */
export function openLtxFile(path: string, options: LtxDecoderOptions = {}): OpenLtxFile {
  const fd = openSync(path, 'r')
  try {
    return { reader: readerOf(fd, path, options), close: () => closeSync(fd) }
  } catch (error) {
    closeSync(fd)
    throw inFile(path, error)
  }
}

/** Reads header and trailer, and checks them but not what is between them. Throws LtxError with the path in front. */
export function readLtxSummary(path: string): LtxSummary {
  return withOpenFile(path, (fd) => {
    const { size } = fstatSync(fd)
    const header = decodeHeader(readAt(fd, HEADER_SIZE, 0))
    checkHeader(header, versionOf(fd, size))
    if (size < HEADER_SIZE + TRAILER_SIZE) throw new LtxError('Cannot read LTX file: it ends before its trailer')
    const trailer = decodeTrailer(readAt(fd, TRAILER_SIZE, size - TRAILER_SIZE))
    checkPostApply(header, trailer.postApplyChecksum)
    return { path, header, trailer, size }
  })
}

/** The name that a file with this header has. */
export function nameOf(header: LtxHeader): string {
  return formatLtxName(header.minTxid, header.maxTxid)
}

function withOpenFile<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, 'r')
  try {
    return use(fd)
  } catch (error) {
    throw inFile(path, error)
  } finally {
    closeSync(fd)
  }
}

function decoderOf(fd: number, options: LtxDecoderOptions): LtxDecoder {
  const source = { read: (into: Uint8Array) => readSync(fd, into) }
  return new LtxDecoder(source, { version: versionOf(fd, fstatSync(fd).size), ...options })
}

function readerOf(fd: number, path: string, options: LtxDecoderOptions): LtxReader {
  const decoder = decoderOf(fd, options)
  return {
    header: decoder.header,
    get trailer() {
      return decoder.trailer
    },
    *pages(): Generator<PageImage, void> {
      try {
        yield* decoder.pages()
      } catch (error) {
        throw inFile(path, error)
      }
    },
  }
}

function inFile(path: string, error: unknown): unknown {
  return error instanceof LtxError ? new LtxError(`${path}: ${error.message}`, { cause: error }) : error
}

/** A file that is too short for the question counts as version 3; the decoder then says what is missing. */
function versionOf(fd: number, size: number): LtxVersion {
  const start = readAt(fd, HEADER_SIZE + DETECT_SIZE, 0)
  if (start.length < HEADER_SIZE) return 3
  const flags = start.readUInt32BE(4)
  const tail = readAt(fd, 4, size - TAIL_OFFSET)
  return detectVersion(flags, start.subarray(HEADER_SIZE), tail.readUInt32BE(0))
}

function readAt(fd: number, length: number, offset: number): Buffer {
  const bytes = Buffer.alloc(length)
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset))
}
