import type { BackingFile } from '../db/backing-file.js'
import type { Database } from '../db/database.js'
import type { FileKind } from '../db/database-files.js'
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH } from '../fuse/abi.js'
import type { Timestamp } from '../fuse/file-system.js'
import type { Ownership } from '../store/local-files.js'
import type { DatabaseOwners } from './database-owners.js'
import {
  BLOCK_SIZE,
  CACHED_SECONDS,
  type FileAttributes,
  type MountFile,
  type OwnershipChanges,
  S_IFREG,
  timesOf,
  utimeSeconds,
} from './mount-file.js'

/**
 * Closing flushes nothing: there is nothing to flush but mapped pages of the wal-index, and a daemon that is killed while a thread of its
 * own waits in such a flush, which nobody serves any more, never ends, nor does any of its clients (Linux 5.16; ignored before).
 */
const OPEN_FLAGS = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH

/** A database, its journal, WAL or wal-index: the bytes are the backing file's, and the kernel caches them. */
export class DatabaseFile implements MountFile {
  #database: Database
  readonly kind: FileKind
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #owners: DatabaseOwners
  /** While it is open; it outlives its name. */
  #file: BackingFile | undefined
  #opens = 0

  constructor(database: Database, kind: FileKind, owners: DatabaseOwners) {
    this.#database = database
    this.kind = kind
    this.#owners = owners
  }

  get database(): Database {
    return this.#database
  }

  get opens(): number {
    return this.#opens
  }

  /** The file was renamed, and is another database's now. */
  moveTo(database: Database): void {
    this.#database = database
  }

  /** The file is open already in `opens` places, where it was something else until now. */
  takeOver(file: BackingFile | undefined, opens: number): void {
    this.#file = file
    this.#opens = opens
  }

  attributes(linked: boolean): FileAttributes {
    const stat = this.#file?.stat() ?? this.database.files.stat(this.kind)
    const { mode, uid, gid } = this.#owners.ofFile(this.database, this.kind)
    return {
      size: stat.size,
      blocks: stat.blocks,
      ...timesOf(stat),
      mode: S_IFREG | mode,
      nlink: linked ? 1 : 0,
      uid,
      gid,
      blksize: BLOCK_SIZE,
    }
  }

  open(): number {
    if (this.#file === undefined) this.#file = this.database.files.acquire(this.kind)
    this.#opens++
    return OPEN_FLAGS
  }

  /** Creates the file, or opens it where it exists. */
  create(ownership: Ownership): number {
    const isNew = !this.database.files.exists(this.kind)
    if (this.#file === undefined) this.#file = this.database.files.create(this.kind)
    this.#opens++
    if (isNew && this.kind === 'database') this.#owners.set(this.database, ownership)
    else if (isNew) this.#owners.forgetFile(this.database, this.kind)
    return OPEN_FLAGS
  }

  close(): void {
    this.#opens--
    if (this.#opens > 0 || this.#file === undefined) return
    const named = this.database.files.isCurrent(this.kind, this.#file)
    this.database.files.release(this.kind, this.#file)
    this.#file = undefined
    if (named) this.database.closed(this.kind)
  }

  read(into: Uint8Array, size: number, offset: number): number {
    return this.#open().read(into, 0, size, offset)
  }

  /** The first bytes; the file has as many. */
  head(size: number): Uint8Array {
    const bytes = new Uint8Array(size)
    this.#with((file) => file.read(bytes, 0, size, 0))
    return bytes
  }

  write(data: Uint8Array, offset: number): void {
    this.database.write(this.kind, this.#open(), data, offset)
  }

  truncate(size: number): void {
    this.#with((file) => this.database.truncate(this.kind, file, size))
    // By its path, as truncate(2) does it: there is no close to come.
    if (this.#file === undefined) this.database.closed(this.kind)
  }

  setTimes(atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void {
    this.#with((file) => {
      const stat = file.stat()
      file.setTimes(1000 * utimeSeconds(atime, stat.atimeMs), 1000 * utimeSeconds(mtime, stat.mtimeMs))
    })
  }

  setOwnership({ mode, uid, gid }: OwnershipChanges): void {
    const now = this.#owners.ofFile(this.database, this.kind)
    const chosen = { mode: mode ?? now.mode, uid: uid ?? now.uid, gid: gid ?? now.gid }
    this.#owners.setFile(this.database, this.kind, chosen)
  }

  sync(): void {
    this.database.sync(this.kind, this.#open())
  }

  #open(): BackingFile {
    if (this.#file === undefined) throw new Error('an operation on a file that is not open')
    return this.#file
  }

  #with(use: (file: BackingFile) => void): void {
    if (this.#file === undefined) this.database.files.with(this.kind, use)
    else use(this.#file)
  }
}
