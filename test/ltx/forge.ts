import { checksumFromHalves, lockPage } from '../../src/ltx/checksum.js'
import { LtxDecoder, type LtxDecoderOptions } from '../../src/ltx/decoder.js'
import { encodeFile } from '../../src/ltx/encode-file.js'
import { LtxEncoder, type LtxEncoderOptions } from '../../src/ltx/encoder.js'
import { encodeHeader, type LtxHeader } from '../../src/ltx/header.js'
import type { LtxSource } from '../../src/ltx/input.js'
import { blockBound, type Lz4, lz4 } from '../../src/ltx/lz4.js'
import { crc64Update, pageChecksum } from '../../src/native.js'

/** A page frame as somebody may have written it; what is left out is written as it should be. */
export interface ForgedPage {
  pgno: number
  data: Buffer
  flags?: number
  block?: Buffer
  blockSize?: number
}

export interface ForgedFile {
  header: LtxHeader | Buffer
  pages?: ForgedPage[]
  index?: Buffer
  post?: bigint
  after?: Buffer
}

export const FLAG = 1n << 63n

export const CHANGE: LtxHeader = {
  flags: 0,
  pageSize: 512,
  commit: 9,
  minTxid: 5n,
  maxTxid: 5n,
  timestamp: 1700000000000,
  preApplyChecksum: FLAG | 0x1234n,
  walOffset: 0,
  walSize: 0,
  walSalt1: 0,
  walSalt2: 0,
  nodeId: 0n,
}

/** Any bytes in the shape of a version 3 file, its checksum always right. Written from the format's description alone. */
export function forge(file: ForgedFile): Buffer {
  const parts: Buffer[] = []
  const crc = new Uint32Array(2)
  let offset = 0
  const put = (bytes: Buffer, hashed: Buffer = bytes) => {
    crc64Update(crc, hashed, 0, hashed.length)
    parts.push(bytes)
    offset += bytes.length
  }
  put(Buffer.isBuffer(file.header) ? file.header : encodeHeader(file.header))
  const entries: number[] = []
  for (const page of file.pages ?? []) {
    const start = offset
    const block = page.block ?? compress(lz4, page.data)
    const head = Buffer.alloc(10)
    head.writeUInt32BE(page.pgno, 0)
    head.writeUInt16BE(page.flags ?? 1, 4)
    head.writeUInt32BE(page.blockSize ?? block.length, 6)
    put(head)
    put(block, page.data)
    entries.push(page.pgno, start, offset - start)
  }
  put(Buffer.alloc(6))
  put(file.index ?? index(entries))
  const trailer = Buffer.alloc(16)
  trailer.writeBigUInt64BE(file.post ?? FLAG | 0x99n, 0)
  crc64Update(crc, trailer, 0, 8)
  trailer.writeUInt32BE(((crc[0] ?? 0) | 0x80000000) >>> 0, 8)
  trailer.writeUInt32BE(crc[1] ?? 0, 12)
  return Buffer.concat([...parts, trailer, file.after ?? Buffer.alloc(0)])
}

/** One LZ4 block of its own. */
export function compress(library: Lz4, data: Uint8Array): Buffer {
  const block = Buffer.alloc(blockBound(data.length))
  return block.subarray(0, library.compress(data, block, 0))
}

/** A page index of these numbers, each a varint, with end and length. */
export function index(numbers: number[], length?: bigint): Buffer {
  const bytes: number[] = []
  for (const number of numbers) {
    let rest = number
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
    bytes.push(rest)
  }
  const end = Buffer.alloc(9)
  end.writeBigUInt64BE(length ?? BigInt(bytes.length + 1), 1)
  return Buffer.concat([Buffer.from(bytes), end])
}

/** A source over bytes that hands out at most `most` at a time. */
export function sourceOf(bytes: Uint8Array, most = 1 << 20): LtxSource {
  let at = 0
  return {
    read(into) {
      const size = Math.min(into.length, bytes.length - at, most)
      into.set(bytes.subarray(at, at + size))
      at += size
      return size
    },
  }
}

/** Page content of the fixtures. */
export function patternPage(pgno: number, size = 512): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, i) => Math.floor(i / 16) * pgno))
}

/** Seeded random numbers (mulberry32): 0 to `below` - 1. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 4294967296) * below)
  }
}

/** A file read to its end, its pages copied. */
export interface Read {
  decoder: LtxDecoder
  pages: { pgno: number; data: Buffer }[]
}

export function readLtx(bytes: Uint8Array, options: LtxDecoderOptions = {}, most?: number): Read {
  const decoder = new LtxDecoder(most === undefined ? bytes : sourceOf(bytes, most), options)
  const pages = [...mapPages(decoder)]
  return { decoder, pages }
}

function* mapPages(decoder: LtxDecoder) {
  for (const { pgno, data } of decoder.pages()) yield { pgno, data: Buffer.from(data) }
}

/** Database checksum of these pages alone. */
export function databaseChecksum(pages: { pgno: number; data: Uint8Array }[]): bigint {
  const out = new Uint32Array(2)
  let [hi, lo] = [0, 0]
  for (const { pgno, data } of pages) {
    pageChecksum(out, 0, pgno, data, 0, data.length)
    hi ^= out[0] ?? 0
    lo ^= out[1] ?? 0
  }
  return checksumFromHalves(hi, lo)
}

/** Files with everything that a file can have; each must come back as it was written. */
export function writtenFiles(): {
  what: string
  header: LtxHeader
  pages: { pgno: number; data: Buffer }[]
  post: bigint
}[] {
  const random = randomFrom(1)
  const noise = (size: number) => Buffer.from(Array.from({ length: size }, () => random(256)))
  const all = [1, 2, 3].map((pgno) => ({ pgno, data: patternPage(pgno) }))
  const snapshot = { ...CHANGE, minTxid: 1n, maxTxid: 0xffffffffffffffffn, commit: 3, preApplyChecksum: 0n }
  const wal = { walOffset: 2 ** 40 + 32, walSize: 4152, walSalt1: 0xffffffff, walSalt2: 1, nodeId: 0xffffffffffffffffn }
  const lock = lockPage(65536)
  return [
    { what: 'change', header: { ...CHANGE, ...wal }, pages: all.slice(1), post: FLAG | 7n },
    { what: 'snapshot', header: snapshot, pages: all, post: databaseChecksum(all) },
    { what: 'untracked', header: { ...CHANGE, flags: 2, preApplyChecksum: 0n }, pages: all, post: 0n },
    { what: 'drop', header: { ...CHANGE, commit: 0 }, pages: [], post: FLAG },
    { what: 'empty snapshot', header: { ...snapshot, commit: 0 }, pages: [], post: FLAG },
    { what: 'no pages', header: { ...CHANGE, timestamp: -1 }, pages: [], post: FLAG | 1n },
    {
      what: 'incompressible',
      header: { ...CHANGE, pageSize: 4096 },
      pages: [8, 9].map((pgno) => ({ pgno, data: noise(4096) })),
      post: FLAG | 7n,
    },
    {
      what: 'around the lock page',
      header: { ...CHANGE, pageSize: 65536, commit: 0xffffffff },
      pages: [lock - 1, lock + 1, 0xffffffff].map((pgno) => ({ pgno, data: noise(65536) })),
      post: FLAG | 7n,
    },
  ]
}

/** A whole file in memory. */
export function encodeLtx(
  header: LtxHeader,
  pages: Iterable<{ pgno: number; data: Uint8Array }>,
  postApplyChecksum: bigint,
  options: LtxEncoderOptions,
): Buffer {
  const chunks: Buffer[] = []
  const encoder = new LtxEncoder((chunk) => void chunks.push(Buffer.from(chunk)), options)
  encoder.header(header)
  for (const page of pages) encoder.page(page.pgno, page.data)
  encoder.close(postApplyChecksum)
  return Buffer.concat(chunks)
}

/** The file as the encoder writes it with these options. */
export function convert(file: Uint8Array, options: LtxEncoderOptions): Buffer {
  return Buffer.concat([...encodeFile(new LtxDecoder(sourceOf(file, 1000)), options)])
}
