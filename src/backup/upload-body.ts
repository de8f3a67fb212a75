import fs, { type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { readFrozenPages } from '../db/frozen-pages.js'
import { type OpenLtxFile, openLtxFile } from '../db/ltx-file.js'
import { openMergeOf } from '../db/ltx-merge.js'
import type { FrozenPages } from '../db/page-freeze.js'
import { lockPage } from '../ltx/checksum.js'
import { LtxDecoder } from '../ltx/decoder.js'
import { encodeFile } from '../ltx/encode-file.js'
import { LtxEncoder } from '../ltx/encoder.js'
import { decodeHeader, FLAG_NO_CHECKSUM, type LtxHeader } from '../ltx/header.js'
import type { Position } from '../ltx/names.js'
import { neededFiles } from '../ltx/needed.js'
import type { LtxReader } from '../ltx/page-block.js'
import { indexedPages } from '../ltx/page-numbers.js'
import type { SourceTransaction } from './source.js'
import type { Content } from './storage.js'

/** Uploads up to this size (bytes) are made in memory. */
const MEMORY_BYTES = 4 << 20
/** Files on the disk with more pages are read once only, in the merge. */
const FEW_PAGES = 64
/** Bytes made between two turns of the event loop. */
const BYTES_PER_TURN = 1 << 20
/**
 * What Litestream writes for a transaction at the beginning of a WAL. It takes over from the newest upload, and does not go on after one that
 * ends before the WAL's header does.
 */
const WAL_HEADER_BYTES = 32

/** What a file of a backup is called and says about itself. */
export interface UploadLabel {
  readonly minTxid: bigint
  readonly maxTxid: bigint
  /** Milliseconds since the epoch. */
  readonly timestampMs: number
  /** Where the database stood after it. */
  readonly source: Position
  readonly nodeId: bigint
}

/**
 * Consecutive transactions, which lead from one to the next, as one file of a backup, which has no checksums of the database. `pagesBefore`: pages of
 * the database before them. Under a writer most of them write pages that later ones write again: those are not read at all. Throws LtxError and
 * system errors.
 */
export async function openRun(
  run: readonly SourceTransaction[],
  pagesBefore: number,
  label: UploadLabel,
  directory: string,
): Promise<OpenLtxFile> {
  const needed = neededFiles(run, pagesBefore, (index) => pagesOf(run[index]))
  const merge = await openMergeOf(
    needed.flatMap((index) => run[index] ?? []).map((transaction) => () => openTransaction(transaction)),
    directory,
    { pagesBefore, sparse: true },
  )
  const { pageSize, commit } = merge.reader.header
  return { reader: relabelled(merge.reader, headerOf(label, pageSize, commit)), close: merge.close }
}

/** The bytes of a whole database as one file of a backup. Throws when a page is not what it was. */
export async function* wholeDatabase(pages: FrozenPages, label: UploadLabel): AsyncGenerator<Buffer, void> {
  const { pageSize, pageCount } = pages
  let chunks: Buffer[] = []
  const encoder = new LtxEncoder((chunk) => chunks.push(Buffer.from(chunk)), { compress: true })
  encoder.header(headerOf(label, pageSize, pageCount))
  const lock = lockPage(pageSize)
  for await (const { firstPgno, bytes } of readFrozenPages(pages)) {
    for (let at = 0; at < bytes.length; at += pageSize) {
      const pgno = firstPgno + at / pageSize
      if (pgno !== lock) encoder.page(pgno, bytes.subarray(at, at + pageSize))
    }
    yield Buffer.concat(chunks)
    chunks = []
  }
  encoder.close(0n)
  yield Buffer.concat(chunks)
}

/** The bytes of a file that says what `reader` says, while other work goes on. */
export async function* encoded(reader: LtxReader): AsyncGenerator<Buffer, void> {
  let left = BYTES_PER_TURN
  for (const chunk of encodeFile(reader, { compress: true })) {
    yield chunk
    left -= chunk.length
    if (left > 0) continue
    left = BYTES_PER_TURN
    await setImmediate()
  }
}

/** The same pieces until `signal`, and how many bytes have gone by. */
export function counted(
  chunks: AsyncIterable<Buffer>,
  signal: AbortSignal,
): { chunks: AsyncGenerator<Buffer>; count: () => number } {
  let bytes = 0
  const passed = async function* () {
    for await (const chunk of chunks) {
      signal.throwIfAborted()
      bytes += chunk.length
      yield chunk
    }
  }
  return { chunks: passed(), count: () => bytes }
}

/** Reads a file to its end, for its checks, while other work goes on. Throws LtxError. */
export async function readThrough(reader: LtxReader): Promise<void> {
  let left = BYTES_PER_TURN
  for (const { data } of reader.pages()) {
    left -= data.length
    if (left > 0) continue
    left = BYTES_PER_TURN
    await setImmediate()
  }
}

/** Something made whole before it is uploaded. */
export interface Spooled {
  readonly content: Content
  /** The last 16 bytes: they tell whether another file says the same. */
  readonly trailer: Buffer
  remove(): Promise<void>
}

const TRAILER_BYTES = 16
let count = 0

/** Collects a file in memory or, when it is large, in `directory`. Throws a system error, and what `chunks` throws. */
export async function spool(chunks: AsyncIterable<Buffer>, directory: string): Promise<Spooled> {
  const target = path.join(directory, `upload-${process.pid}-${++count}.tmp`)
  const inMemory: Buffer[] = []
  let size = 0
  let file: FileHandle | undefined
  try {
    for await (const chunk of chunks) {
      inMemory.push(chunk)
      size += chunk.length
      if (file === undefined && size <= MEMORY_BYTES) continue
      file ??= await fs.open(target, 'wx+', 0o600)
      await file.appendFile(Buffer.concat(inMemory.splice(0)))
    }
    if (file === undefined) {
      const bytes = Buffer.concat(inMemory)
      return { content: { bytes }, trailer: bytes.subarray(-TRAILER_BYTES), remove: async () => {} }
    }
    const trailer = Buffer.alloc(TRAILER_BYTES)
    await file.read(trailer, 0, TRAILER_BYTES, size - TRAILER_BYTES)
    return { content: { path: target, size }, trailer, remove: () => fs.rm(target, { force: true }) }
  } catch (error) {
    await fs.rm(target, { force: true })
    throw error
  } finally {
    await file?.close()
  }
}

function pagesOf(transaction: SourceTransaction | undefined): readonly number[] | undefined {
  if (transaction === undefined) return undefined
  const { data, path } = transaction
  return data === undefined ? checkedPages(path) : indexedPages(decodeHeader(data).flags, data)
}

/** What was on the disk is read through before anything relies on it. Undefined where there are many pages. */
function checkedPages(path: string): number[] | undefined {
  const file = openLtxFile(path)
  try {
    const pgnos: number[] = []
    for (const { pgno } of file.reader.pages()) {
      if (pgnos.push(pgno) > FEW_PAGES) return undefined
    }
    return pgnos
  } finally {
    file.close()
  }
}

function openTransaction({ data, path }: SourceTransaction): OpenLtxFile {
  if (data === undefined) return openLtxFile(path)
  return { reader: new LtxDecoder(data), close: () => {} }
}

function headerOf(
  { minTxid, maxTxid, timestampMs, source, nodeId }: UploadLabel,
  pageSize: number,
  commit: number,
): LtxHeader {
  return {
    flags: FLAG_NO_CHECKSUM,
    pageSize,
    commit,
    minTxid,
    maxTxid,
    timestamp: timestampMs,
    preApplyChecksum: 0n,
    walOffset: WAL_HEADER_BYTES,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId,
    sourcePosition: source,
  }
}

function relabelled(reader: LtxReader, header: LtxHeader): LtxReader {
  return { header, trailer: { postApplyChecksum: 0n }, pages: () => reader.pages() }
}
