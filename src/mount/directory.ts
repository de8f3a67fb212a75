import fs from 'node:fs'
import type { Timestamp } from '../fuse/file-system.js'
import type { LocalFiles } from '../store/local-files.js'
import {
  attributesOf,
  CACHED_SECONDS,
  type FileAttributes,
  type MountFile,
  type OwnershipChanges,
  refuse,
  utimeSeconds,
} from './mount-file.js'
import { changeOwnership } from './plain-file.js'

/** A directory: its attributes are those of the directory of that name in the data directory. */
export class Directory implements MountFile {
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #local: LocalFiles
  /** Path in the mount, '' for its root. */
  name: string

  constructor(local: LocalFiles, name: string) {
    this.#local = local
    this.name = name
  }

  attributes(): FileAttributes {
    return attributesOf(fs.lstatSync(this.#local.path(this.name)))
  }

  open(): number {
    return refuse('EISDIR')
  }

  close(): void {}

  read(): number {
    return refuse('EISDIR')
  }

  write(): void {
    refuse('EISDIR')
  }

  truncate(): void {
    refuse('EISDIR')
  }

  setTimes(atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void {
    setPathTimes(this.#local.path(this.name), atime, mtime)
  }

  setOwnership(changes: OwnershipChanges): void {
    changeOwnership(this.#local.path(this.name), changes)
  }

  sync(): void {}
}

/** A symbolic link; the kernel follows it. */
export class SymbolicLink implements MountFile {
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #local: LocalFiles
  /** Path in the mount. */
  name: string

  constructor(local: LocalFiles, name: string) {
    this.#local = local
    this.name = name
  }

  get target(): string {
    return fs.readlinkSync(this.#local.path(this.name))
  }

  attributes(): FileAttributes {
    return attributesOf(fs.lstatSync(this.#local.path(this.name)))
  }

  open(): number {
    return refuse('ELOOP')
  }

  close(): void {}

  read(): number {
    return refuse('EINVAL')
  }

  write(): void {
    refuse('EINVAL')
  }

  truncate(): void {
    refuse('EINVAL')
  }

  setTimes(atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void {
    setPathTimes(this.#local.path(this.name), atime, mtime)
  }

  /** A link's own mode means nothing. */
  setOwnership({ uid, gid }: OwnershipChanges): void {
    changeOwnership(this.#local.path(this.name), { mode: undefined, uid, gid })
  }

  sync(): void {}
}

function setPathTimes(path: string, atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void {
  const stat = fs.lstatSync(path)
  fs.lutimesSync(path, utimeSeconds(atime, stat.atimeMs), utimeSeconds(mtime, stat.mtimeMs))
}
