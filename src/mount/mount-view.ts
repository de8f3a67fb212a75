import { type FileHandle, open } from 'node:fs/promises'
import path from 'node:path'
import type { Log } from '../log.js'
import { parseWalIndexHeader, WAL_INDEX_HEADER_SIZE, type WalIndexHeader } from '../sqlite/wal-index.js'
import { SUFFIXES } from './names.js'

/** Bytes of one read. */
const CHUNK_SIZE = 1 << 20
/** Bytes of a WAL that are read ahead of its writer. */
const WARM_LIMIT = 16 << 20

/**
 * The mount as its users see it: SQLite's wal-index is in the kernel's cache only. Everything here reads on the thread pool, because the
 * thread that asks is the one that serves the mount.
 */
export class MountView {
  readonly #mountDir: string
  readonly #log: Log
  readonly #scratch = Buffer.alloc(CHUNK_SIZE)
  readonly #warming = new Set<string>()

  constructor(mountDir: string, log: Log) {
    this.#mountDir = mountDir
    this.#log = log
  }

  /** Undefined when there is none. */
  readWalIndex(name: string): Promise<WalIndexHeader | undefined> {
    return this.#with(name + SUFFIXES.shm, async (file) => {
      const bytes = Buffer.alloc(WAL_INDEX_HEADER_SIZE)
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
      return parseWalIndexHeader(bytes.subarray(0, bytesRead))
    })
  }

  /**
   * Reads the WAL so that the kernel has its pages whole. A write that begins in a page which the kernel has only in part is cut at that
   * page's end and costs one request more, and nearly every write of a frame begins so.
   */
  async warmWal(name: string): Promise<void> {
    if (this.#warming.has(name)) return
    this.#warming.add(name)
    try {
      await this.#with(name + SUFFIXES.wal, async (file) => {
        for (let offset = 0; offset < WARM_LIMIT; offset += CHUNK_SIZE) {
          const { bytesRead } = await file.read(this.#scratch, 0, CHUNK_SIZE, offset)
          if (bytesRead < CHUNK_SIZE) return
        }
      })
    } catch (error) {
      this.#log.debug(`cannot read WAL of ${name} ahead: ${(error as Error).message}`)
    } finally {
      this.#warming.delete(name)
    }
  }

  async #with<T>(name: string, use: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
    const file = await open(path.join(this.#mountDir, name), 'r').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (file === undefined) return undefined
    try {
      return await use(file)
    } finally {
      await file.close()
    }
  }
}
