import fs from 'node:fs'
import { BackingFile } from '../db/backing-file.js'
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH } from '../fuse/abi.js'
import type { Timestamp } from '../fuse/file-system.js'
import type { LocalFiles, Ownership } from '../store/local-files.js'
import {
  attributesOf,
  CACHED_SECONDS,
  type FileAttributes,
  type MountFile,
  type OwnershipChanges,
  utimeSeconds,
} from './mount-file.js'

/** See DatabaseFile. What was changed in a mapping the kernel writes when the mapping goes, which is before the file is closed. */
const OPEN_FLAGS = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH

/** A file that is no database: this node's own, never replicated. */
export class PlainFile implements MountFile {
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #local: LocalFiles
  /** Path in the mount. */
  name: string
  #file: BackingFile | undefined
  #opens: number

  /** `file` is open already in `opens` places, where it was something else until now. */
  constructor(local: LocalFiles, name: string, file: BackingFile | undefined, opens: number) {
    this.#local = local
    this.name = name
    this.#file = file
    this.#opens = opens
  }

  get opens(): number {
    return this.#opens
  }

  attributes(linked: boolean): FileAttributes {
    const stat = this.#file?.diskStat() ?? fs.lstatSync(this.#local.path(this.name))
    return { ...attributesOf(stat), nlink: linked ? 1 : 0 }
  }

  open(): number {
    this.#file ??= retained(openForWriting(this.#local.path(this.name)))
    this.#opens++
    return OPEN_FLAGS
  }

  /** Creates the file, or opens it where it exists. */
  create(ownership: Ownership): number {
    const path = this.#local.path(this.name)
    const exists = fs.existsSync(path)
    this.#file ??= retained(BackingFile.create(path))
    this.#opens++
    if (!exists) {
      this.#local.own(this.name, ownership)
      this.#local.changed(this.name)
    }
    return OPEN_FLAGS
  }

  close(): void {
    this.#opens--
    if (this.#opens > 0) return
    if (this.#file?.release()) this.#file.close()
    this.#file = undefined
  }

  /** Gives the open file to whatever takes this one's place. */
  surrender(): BackingFile | undefined {
    const file = this.#file
    this.#file = undefined
    return file
  }

  read(into: Uint8Array, size: number, offset: number): number {
    return this.#with((file) => file.read(into, 0, size, offset))
  }

  /** The first bytes; the file has as many. */
  head(size: number): Uint8Array {
    const bytes = new Uint8Array(size)
    this.#with((file) => file.read(bytes, 0, size, 0))
    return bytes
  }

  write(data: Uint8Array, offset: number): void {
    this.#with((file) => file.write(data, offset))
  }

  truncate(size: number): void {
    this.#with((file) => file.truncate(size))
  }

  setTimes(atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void {
    this.#with((file) => {
      const stat = file.stat()
      file.setTimes(1000 * utimeSeconds(atime, stat.atimeMs), 1000 * utimeSeconds(mtime, stat.mtimeMs))
    })
  }

  setOwnership(changes: OwnershipChanges): void {
    changeOwnership(this.#local.path(this.name), changes)
  }

  sync(): void {
    this.#with((file) => file.sync())
    this.#local.syncNames()
  }

  #with<T>(use: (file: BackingFile) => T): T {
    if (this.#file !== undefined) return use(this.#file)
    const file = retained(openForWriting(this.#local.path(this.name)))
    try {
      return use(file)
    } finally {
      if (file.release()) file.close()
    }
  }
}

/** chmod and chown of a file in the data directory; chown needs root there as anywhere. */
export function changeOwnership(path: string, { mode, uid, gid }: OwnershipChanges): void {
  if (uid !== undefined || gid !== undefined) {
    const stat = fs.lstatSync(path)
    fs.lchownSync(path, uid ?? stat.uid, gid ?? stat.gid)
  }
  // chown(2) takes set-user-id away, so the mode comes second.
  if (mode !== undefined) fs.chmodSync(path, mode)
}

function retained(file: BackingFile): BackingFile {
  file.retain()
  return file
}

/** One descriptor serves all; a file that the daemon may only read can be opened for that. */
function openForWriting(path: string): BackingFile {
  try {
    return BackingFile.open(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    return BackingFile.openReadOnly(path)
  }
}
