import fs from 'node:fs'
import { LtxDecoder } from '../ltx/decoder.js'
import { checkHeader, decodeHeader, FLAG_LZ4, HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import type { LtxTrailer } from '../ltx/trailer.js'
import { ProtocolError } from './error.js'
import { isSpilled, pageFrameBound, SpilledFile } from './spilled-file.js'

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

/** Removes what a receiver that was killed has left in `directory`; none may be at work there. Throws a system error. */
export function removeLeftovers(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (isSpilled(name)) fs.rmSync(`${directory}/${name}`)
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
  #file: SpilledFile | undefined

  constructor(name: string, options: ReceiverOptions) {
    this.name = name
    this.#options = options
  }

  /** Copies. Throws when the file is larger than its header allows, or a system error. */
  write(bytes: Buffer): void {
    this.#size += bytes.length
    if (this.#file === undefined) this.#chunks.push(Buffer.from(bytes))
    if (this.#limit === undefined && this.#size >= HEADER_SIZE) this.#limit = sizeLimit(Buffer.concat(this.#chunks))
    if (this.#size > (this.#limit ?? HEADER_SIZE)) {
      throw new ProtocolError(`Cannot receive LTX file of ${this.name}: it is larger than its header allows`)
    }
    if (this.#file !== undefined) this.#file.write(bytes)
    else if (this.#size > this.#options.memoryBytes) this.#spill()
  }

  /** Bytes that it takes of memory. */
  get memoryBytes(): number {
    return this.#file === undefined ? this.#size : 0
  }

  /** Bytes that it takes of the disk. */
  get diskBytes(): number {
    return this.#file === undefined ? 0 : this.#size
  }

  /** Forgets it; a second call does nothing. */
  discard(): void {
    this.#chunks = []
    this.#file?.discard()
    this.#file = undefined
  }

  /** The whole file, once the disk has it where it is not in memory. Throws, or rejects with, LtxError or a system error when it is not sound. */
  verified(): ReceivedLtx | Promise<ReceivedLtx> {
    const file = this.#file
    if (file !== undefined) return file.verified().then((ends) => ({ ...ends, body: { path: file.path } }))
    const bytes = Buffer.concat(this.#chunks)
    const decoder = new LtxDecoder(bytes)
    return { header: decoder.header, trailer: decoder.verify(), body: { bytes } }
  }

  #spill(): void {
    this.#file = new SpilledFile(this.#options.directory)
    this.#file.write(Buffer.concat(this.#chunks))
    this.#chunks = []
  }
}

/** Header, end of pages, end of index, trailer. */
const FILE_EXTRA_BYTES = 1024

/** Bytes that a file with this header can have. Throws LtxError when the header is none. */
function sizeLimit(start: Buffer): number {
  const header = decodeHeader(start)
  checkHeader(header, (header.flags & FLAG_LZ4) === 0 ? 3 : 1)
  return FILE_EXTRA_BYTES + header.commit * pageFrameBound(header.pageSize)
}
