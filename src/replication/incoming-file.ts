import fs from 'node:fs'
import path from 'node:path'
import { withLtxFile } from '../db/ltx-file.js'
import { LtxDecoder } from '../ltx/decoder.js'
import { checkHeader, decodeHeader, FLAG_LZ4, HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import type { LtxTrailer } from '../ltx/trailer.js'
import { ProtocolError } from './error.js'

/** An LTX file that was received whole and is sound in itself. Whether it follows what is here, who applies it must see. */
export interface ReceivedLtx {
  readonly header: LtxHeader
  readonly trailer: LtxTrailer
  /** In memory, or a file that is removed when `apply` has settled. */
  readonly body: { readonly bytes: Uint8Array } | { readonly path: string }
}

export interface ReceiverOptions {
  /** Where files go that are too large for memory; it exists. */
  readonly directory: string
  /** Largest file that stays in memory, bytes. */
  readonly memoryBytes: number
}

const SPILL_PREFIX = 'received-'
const SPILL_SUFFIX = '.tmp'

/** Removes what a receiver that was killed has left in `directory`; none may be at work there. Throws a system error. */
export function removeLeftovers(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (name.startsWith(SPILL_PREFIX) && name.endsWith(SPILL_SUFFIX)) fs.rmSync(path.join(directory, name))
  }
}

/** A file on its way: in memory until it is too large. */
export class IncomingFile {
  readonly name: string
  readonly #options: ReceiverOptions
  #chunks: Buffer[] = []
  #size = 0
  /** What its header allows, once it is here. */
  #limit: number | undefined
  #file: { readonly path: string; readonly fd: number } | undefined

  constructor(name: string, options: ReceiverOptions) {
    this.name = name
    this.#options = options
  }

  /** Copies. Throws when the file is larger than its header allows, or a system error. */
  write(bytes: Buffer): void {
    this.#size += bytes.length
    if (this.#file === undefined) this.#chunks.push(Buffer.from(bytes))
    else writeFully(this.#file.fd, bytes)
    if (this.#limit === undefined && this.#size >= HEADER_SIZE) this.#limit = sizeLimit(Buffer.concat(this.#chunks))
    if (this.#size > (this.#limit ?? HEADER_SIZE)) {
      throw new ProtocolError(`Cannot receive LTX file of ${this.name}: it is larger than its header allows`)
    }
    if (this.#file === undefined && this.#size > this.#options.memoryBytes) this.#spill()
  }

  /** Bytes that it takes of memory. */
  get memoryBytes(): number {
    return this.#file === undefined ? this.#size : 0
  }

  /** Forgets it; a second call does nothing. */
  discard(): void {
    this.#chunks = []
    if (this.#file === undefined) return
    fs.closeSync(this.#file.fd)
    fs.rmSync(this.#file.path, { force: true })
    this.#file = undefined
  }

  /** The whole file. Throws LtxError or a system error when it is not sound. */
  verified(): ReceivedLtx {
    if (this.#file !== undefined) {
      const { path: file, fd } = this.#file
      fs.fsyncSync(fd)
      const verified = withLtxFile(file, {}, (decoder) => ({ header: decoder.header, trailer: decoder.verify() }))
      return { ...verified, body: { path: file } }
    }
    const bytes = Buffer.concat(this.#chunks)
    const decoder = new LtxDecoder(bytes)
    return { header: decoder.header, trailer: decoder.verify(), body: { bytes } }
  }

  #spill(): void {
    const file = path.join(this.#options.directory, `${SPILL_PREFIX}${process.pid}-${++count}${SPILL_SUFFIX}`)
    const fd = fs.openSync(file, 'wx', 0o600)
    this.#file = { path: file, fd }
    for (const chunk of this.#chunks) writeFully(fd, chunk)
    this.#chunks = []
  }
}

let count = 0

/** Beside a page: its frame's header, what LZ4 adds at most to data that does not compress, and its entry in the page index. */
const PAGE_EXTRA_BYTES = 64
/** Header, end of pages, end of index, trailer. */
const FILE_EXTRA_BYTES = 1024

/** Bytes that a file with this header can have. Throws LtxError when the header is none. */
function sizeLimit(start: Buffer): number {
  const header = decodeHeader(start)
  checkHeader(header, (header.flags & FLAG_LZ4) === 0 ? 3 : 1)
  const pageBytes = header.pageSize + Math.ceil(header.pageSize / 255) + PAGE_EXTRA_BYTES
  return FILE_EXTRA_BYTES + header.commit * pageBytes
}

function writeFully(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(fd, bytes, done)
}
