import fs from 'node:fs'
import path from 'node:path'
import { withLtxFile } from '../db/ltx-file.js'
import { LtxDecoder } from '../ltx/decoder.js'
import { LtxError } from '../ltx/error.js'
import { HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import type { LtxPage } from '../ltx/page-block.js'
import type { LtxTrailer } from '../ltx/trailer.js'
import { DETECT_SIZE } from '../ltx/version.js'

const PREFIX = 'received-'
const SUFFIX = '.tmp'
/** Bytes after which the disk is asked to take what has arrived, so that little is left for the end. */
const SYNC_BYTES = 16 << 20
/** Beside a page: its frame's header, what LZ4 adds at most to data that does not compress, and its entry in the page index. */
const PAGE_EXTRA_BYTES = 64

/** Bytes that a page takes of an LTX file at most, with its entry in the index. */
export function pageFrameBound(pageSize: number): number {
  return pageSize + Math.ceil(pageSize / 255) + PAGE_EXTRA_BYTES
}

/** Whether a file has the name of one of these. */
export function isSpilled(name: string): boolean {
  return name.startsWith(PREFIX) && name.endsWith(SUFFIX)
}

let count = 0

/** An LTX file on its way that is too large for memory. Its pages are checked, and go to the disk, while others arrive. */
export class SpilledFile {
  readonly path: string
  readonly #fd: number
  #size = 0
  #unsynced = 0
  #syncing: Promise<void> = Promise.resolve()
  #isSyncing = false
  #syncError: Error | undefined
  #decoder: LtxDecoder | undefined
  /** Undefined where only the whole file tells what it is. */
  #pages: Generator<LtxPage, void> | undefined

  /** Creates a file in `directory`. Throws a system error. */
  constructor(directory: string) {
    this.path = path.join(directory, `${PREFIX}${process.pid}-${++count}${SUFFIX}`)
    this.#fd = fs.openSync(this.path, 'wx+', 0o600)
  }

  /** Throws a system error. */
  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) done += fs.writeSync(this.#fd, bytes, done)
    const first = this.#size === 0
    this.#size += bytes.length
    this.#unsynced += bytes.length
    if (first) this.#begin()
    this.#checkPages(
      (decoder) => this.#size - decoder.size > pageFrameBound(decoder.header.pageSize) && !decoder.pagesEnd,
    )
    if (this.#unsynced >= SYNC_BYTES && !this.#isSyncing) this.#sync()
  }

  /** Resolves once the disk has it and all of it is right. Rejects with LtxError or a system error. */
  async verified(): Promise<{ header: LtxHeader; trailer: LtxTrailer }> {
    this.#sync()
    await this.#syncing
    if (this.#syncError !== undefined) throw this.#syncError
    const decoder = this.#decoder
    this.#checkPages(() => true)
    if (decoder !== undefined && this.#pages !== undefined) return { header: decoder.header, trailer: decoder.trailer }
    return withLtxFile(this.path, {}, (whole) => ({ header: whole.header, trailer: whole.verify() }))
  }

  /** Removes it, unless it has been moved elsewhere. */
  discard(): void {
    fs.rmSync(this.path, { force: true })
    // Its number must not become another file's while the disk is still asked to sync it.
    void this.#syncing.then(() => fs.closeSync(this.#fd))
  }

  /** What is known from the first bytes to be of version 3 can be checked page by page; of others the version is told by their end. */
  #begin(): void {
    if (this.#size < HEADER_SIZE + DETECT_SIZE) return
    let at = 0
    const read = (into: Uint8Array) => {
      const bytes = fs.readSync(this.#fd, into, 0, into.length, at)
      at += bytes
      return bytes
    }
    const decoder = new LtxDecoder({ read })
    if (decoder.version !== 3) return
    this.#decoder = decoder
    this.#pages = decoder.pages()
  }

  /** Checks page after page, to the file's end where `isHere` never stops it. */
  #checkPages(isHere: (decoder: LtxDecoder) => boolean): void {
    if (this.#decoder === undefined || this.#pages === undefined) return
    try {
      while (isHere(this.#decoder) && !this.#pages.next().done);
    } catch (error) {
      // It may be of version 1 after all, which looks alike in a rare case: the whole file tells, and what is wrong with it.
      if (!(error instanceof LtxError)) throw error
      this.#pages = undefined
    }
  }

  /** Its result is looked at in the end. */
  #sync(): void {
    this.#unsynced = 0
    this.#isSyncing = true
    this.#syncing = this.#syncing.then(
      () =>
        new Promise<void>((resolve) => {
          fs.fdatasync(this.#fd, (error) => {
            this.#syncError ??= error ?? undefined
            this.#isSyncing = false
            resolve()
          })
        }),
    )
  }
}
