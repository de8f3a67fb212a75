import { spawn } from 'node:child_process'
import path from 'node:path'
import type { KernelCache } from '../fuse/kernel-cache.js'
import { isWriteLocked, lockTableDevice, readLocksOf, readLockTable } from '../fuse/lock-table.js'
import { mountAt } from '../fuse/mount-table.js'
import type { Log } from '../log.js'
import { SHARED_FIRST, SHARED_SIZE, WAL_READ_LOCK, WAL_WRITE_LOCK } from '../sqlite/locks.js'
import { parseWalIndexHeader, WAL_INDEX_HEADER_SIZE, type WalIndexHeader } from '../sqlite/wal-index.js'
import type { LiteFileSystem } from './file-system.js'
import { SUFFIXES } from './names.js'

/** A WAL is not read into the kernel's cache more often than this, milliseconds. */
const WARM_MS = 1000

/**
 * The files as their users see them, in the kernel's cache. Nothing here opens or reads the mount in this process: a thread that waits for
 * its own process cannot be ended when that is killed, and keeps the mount's users waiting with it.
 */
export class MountView {
  readonly #mountDir: string
  readonly #fileSystem: LiteFileSystem
  readonly #kernelCache: KernelCache
  readonly #log: Log
  /** Of the mount, as the lock table spells it. */
  #device: string | undefined
  readonly #warmedMs = new Map<string, number>()

  constructor(mountDir: string, fileSystem: LiteFileSystem, kernelCache: KernelCache, log: Log) {
    this.#mountDir = mountDir
    this.#fileSystem = fileSystem
    this.#kernelCache = kernelCache
    this.#log = log
  }

  /** SQLite's wal-index, which it changes through a mapping. Undefined when the kernel does not have it. */
  async readWalIndex(name: string): Promise<WalIndexHeader | undefined> {
    const inode = this.#fileSystem.knownInode(name + SUFFIXES.shm)
    if (inode === undefined) return undefined
    const bytes = await this.#kernelCache.retrieve(inode, 0, WAL_INDEX_HEADER_SIZE)
    return bytes.length < WAL_INDEX_HEADER_SIZE ? undefined : parseWalIndexHeader(bytes)
  }

  /** Has the kernel ask for a database file again, which was written without it. Rejects when it refuses. */
  async invalidate(name: string): Promise<void> {
    const inode = this.#fileSystem.knownInode(name + SUFFIXES.database)
    if (inode !== undefined) await this.#kernelCache.invalidate(inode)
  }

  /**
   * Whether a connection holds the lock under which SQLite writes the database file; during a write, whether the writer does. Undefined
   * where it cannot be told: the kernel shows no locks of processes in another pid namespace.
   */
  isWriteLocked(name: string): boolean | undefined {
    const { current: writer } = this.#fileSystem.writers
    const readTable = () => (writer === undefined ? undefined : readLocksOf(writer)) ?? readLockTable()
    return this.#isLocked(name + SUFFIXES.database, SHARED_FIRST, SHARED_SIZE, readTable)
  }

  /**
   * Whether somebody holds every lock of a wal-index, as SQLite's demonstration of a "superlock" does to put other content in the place of
   * a database that is in use. No connection holds this read lock exclusively while it writes the database or frames. Undefined as above.
   */
  isSuperlocked(name: string): boolean | undefined {
    return this.#isLocked(name + SUFFIXES.shm, WAL_READ_LOCK + 1, 1)
  }

  /** Whether a connection holds the lock under which SQLite writes the WAL. Undefined as above. */
  isWalLocked(name: string): boolean | undefined {
    return this.#isLocked(name + SUFFIXES.shm, WAL_WRITE_LOCK, 1)
  }

  #isLocked(file: string, start: number, length: number, readTable = readLockTable): boolean | undefined {
    const inode = this.#fileSystem.knownInode(file)
    this.#device ??= mountAt(this.#mountDir)?.device
    if (inode === undefined || this.#device === undefined || this.#fileSystem.writers.hidden) return undefined
    return isWriteLocked(readTable(), lockTableDevice(this.#device), inode, start, length)
  }

  /**
   * Has another process read the WAL, so that the kernel has its pages whole. A write that begins in a page which the kernel has only in
   * part is cut at that page's end and costs one request more, and nearly every write of a frame begins so.
   */
  warmWal(name: string): void {
    const now = Date.now()
    if (now - (this.#warmedMs.get(name) ?? 0) < WARM_MS) return
    this.#warmedMs.set(name, now)
    const reader = spawn('cat', ['--', path.join(this.#mountDir, name + SUFFIXES.wal)], { stdio: 'ignore' })
    reader.on('error', (error) => this.#log.debug(`cannot read WAL of ${name} ahead: ${error.message}`))
    reader.unref()
  }
}
