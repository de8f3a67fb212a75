import type { BackingFile } from '../db/backing-file.js'
import type { Database } from '../db/database.js'
import type { FileKind } from '../db/database-files.js'
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH } from '../fuse/abi.js'
import { type Timestamp, timestampFromMs } from '../fuse/file-system.js'
import { BLOCK_SIZE, CACHED_SECONDS, type FileAttributes, type MountFile, type Owner, S_IFREG } from './mount-file.js'

/**
 * Closing flushes nothing: there is nothing to flush but mapped pages of the wal-index, and a daemon that is killed while a thread of its
 * own waits in such a flush, which nobody serves any more, never ends, nor does any of its clients (Linux 5.16; ignored before).
 */
const OPEN_FLAGS = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH

/** A database, its journal, WAL or wal-index: the bytes are the backing file's, and the kernel caches them. */
export class DatabaseFile implements MountFile {
  readonly database: Database
  readonly kind: FileKind
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #owner: Owner
  /** While it is open; it outlives its name. */
  #file: BackingFile | undefined
  #opens = 0

  constructor(database: Database, kind: FileKind, owner: Owner) {
    this.database = database
    this.kind = kind
    this.#owner = owner
  }

  attributes(linked: boolean): FileAttributes {
    const stat = this.#file?.stat() ?? this.database.files.stat(this.kind)
    return {
      size: stat.size,
      blocks: stat.blocks,
      atime: timestampFromMs(stat.atimeMs),
      mtime: timestampFromMs(stat.mtimeMs),
      ctime: timestampFromMs(stat.ctimeMs),
      mode: S_IFREG | 0o666,
      nlink: linked ? 1 : 0,
      uid: this.#owner.uid,
      gid: this.#owner.gid,
      blksize: BLOCK_SIZE,
    }
  }

  open(): number {
    if (this.#file === undefined) this.#file = this.database.files.acquire(this.kind)
    this.#opens++
    return OPEN_FLAGS
  }

  /** Creates the file, or opens it where it exists. */
  create(): number {
    if (this.#file === undefined) this.#file = this.database.files.create(this.kind)
    this.#opens++
    return OPEN_FLAGS
  }

  close(): void {
    this.#opens--
    if (this.#opens > 0 || this.#file === undefined) return
    const named = this.database.files.isCurrent(this.kind, this.#file)
    this.database.files.release(this.kind, this.#file)
    this.#file = undefined
    if (this.kind === 'database' && named) this.database.closed()
  }

  read(into: Uint8Array, size: number, offset: number): number {
    return this.#open().read(into, 0, size, offset)
  }

  write(data: Uint8Array, offset: number): void {
    this.database.write(this.kind, this.#open(), data, offset)
  }

  truncate(size: number): void {
    this.#with((file) => this.database.truncate(this.kind, file, size))
  }

  setTimes(atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void {
    this.#with((file) => {
      const stat = file.stat()
      file.setTimes(milliseconds(atime, stat.atimeMs), milliseconds(mtime, stat.mtimeMs))
    })
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

function milliseconds(time: Timestamp | 'now' | undefined, otherwise: number): number {
  if (time === undefined) return otherwise
  return time === 'now' ? Date.now() : time.seconds * 1000 + time.nanoseconds / 1e6
}
