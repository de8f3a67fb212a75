import fs from 'node:fs/promises'
import { readFrozenPages } from '../db/frozen-pages.js'
import type { SingleLtx } from '../db/ltx-body.js'
import { type OpenLtxFile, openLtxFile } from '../db/ltx-file.js'
import { CHECKSUM_FLAG, lockPage } from '../ltx/checksum.js'
import { LtxDecoder } from '../ltx/decoder.js'
import { encodeFile } from '../ltx/encode-file.js'
import { LtxEncoder, type LtxEncoderOptions } from '../ltx/encoder.js'
import { FLAG_LZ4, type LtxHeader } from '../ltx/header.js'
import { LtxMerge } from '../ltx/merge.js'
import type { Transaction } from './recent.js'
import type { HeldSnapshot } from './source.js'

/** How LTX files are written for one replica. */
export interface BodyOptions {
  /** 3 for our own nodes, 1 for LiteFS'. */
  readonly version: 1 | 3
  /** LZ4 where a file is written anew. */
  readonly compress: boolean
}

/** Bytes read at once from a file that is sent as it is. */
const READ_BYTES = 64 << 10

/** One transaction's LTX file: as it is for our own nodes, written anew for LiteFS'. Throws a system error or LtxError. */
export function transactionBytes({ data, path }: Transaction, options: BodyOptions): AsyncGenerator<Buffer, void> {
  return ltxBytes(data === undefined ? { path } : { bytes: data }, options)
}

/** One LTX file: as it is for our own nodes, written anew for LiteFS'. Throws a system error or LtxError. */
export async function* ltxBytes(file: SingleLtx, options: BodyOptions): AsyncGenerator<Buffer, void> {
  const data = 'bytes' in file ? file.bytes : undefined
  const path = 'path' in file ? file.path : ''
  if (options.version === 3) {
    if (data === undefined) yield* wholeFile(path)
    else yield Buffer.from(data.buffer, data.byteOffset, data.length)
    return
  }
  if (data !== undefined) {
    yield* encodeFile(new LtxDecoder(data), options)
    return
  }
  const opened = openLtxFile(path)
  try {
    yield* encodeFile(opened.reader, options)
  } finally {
    opened.close()
  }
}

/** What consecutive files come to as one. Throws a system error, or LtxError when one is bad or does not follow. */
export async function* mergedBytes(
  transactions: readonly Transaction[],
  options: BodyOptions,
): AsyncGenerator<Buffer, void> {
  const files: OpenLtxFile[] = []
  try {
    for (const { path } of transactions) files.push(openLtxFile(path))
    yield* encodeFile(new LtxMerge(files.map(({ reader }) => reader)), options)
  } finally {
    for (const file of files) file.close()
  }
}

/** A snapshot as an LTX file; without `held` that of a database that was dropped. Throws when a page is not what it should be. */
export async function* snapshotBytes(
  held: HeldSnapshot | undefined,
  header: LtxHeader,
  options: BodyOptions,
): AsyncGenerator<Buffer, void> {
  let chunks: Buffer[] = []
  const encoder = new LtxEncoder((chunk) => chunks.push(Buffer.from(chunk)), options satisfies LtxEncoderOptions)
  encoder.header({ ...header, flags: header.flags & ~FLAG_LZ4 })
  const { pageSize } = header
  const lock = lockPage(pageSize)
  if (held !== undefined) {
    for await (const { firstPgno, bytes } of readFrozenPages(held.pages)) {
      for (let at = 0; at < bytes.length; at += pageSize) {
        const pgno = firstPgno + at / pageSize
        if (pgno !== lock) encoder.page(pgno, bytes.subarray(at, at + pageSize))
      }
      yield Buffer.concat(chunks)
      chunks = []
    }
  }
  encoder.close(held?.pages.position.checksum ?? CHECKSUM_FLAG)
  yield Buffer.concat(chunks)
}

async function* wholeFile(path: string): AsyncGenerator<Buffer, void> {
  const file = await fs.open(path)
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(READ_BYTES))
      if (bytesRead === 0) return
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}
