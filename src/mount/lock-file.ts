import { timestampFromMs } from '../fuse/file-system.js'
import {
  BLOCK_SIZE,
  CACHED_SECONDS,
  type FileAttributes,
  type MountFile,
  type Owner,
  refuse,
  S_IFDIR,
  S_IFLNK,
} from './mount-file.js'

/** The directory of the mount in which the lock files' own mount is; not listed. */
export const LOCKS_NAME = '.litefs-locks'

/** Makes the lock files' own mount, once somebody needs it. Rejects with what prevents it. */
export type OpenLocks = () => Promise<void>

/** What the daemon puts into the mount for locks, which nobody can change. */
class LockEntry {
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #owner: Owner
  readonly #mode: number

  constructor(owner: Owner, mode: number) {
    this.#owner = owner
    this.#mode = mode
  }

  attributes(linked: boolean): FileAttributes {
    const never = timestampFromMs(0)
    const times = { atime: never, mtime: never, ctime: never }
    return {
      size: 0,
      blocks: 0,
      ...times,
      mode: this.#mode,
      nlink: linked ? 1 : 0,
      ...this.#owner,
      blksize: BLOCK_SIZE,
    }
  }

  open(): number {
    return refuse('EACCES')
  }

  close(): void {}

  read(): number {
    return refuse('EINVAL')
  }

  write(): void {
    refuse('EACCES')
  }

  truncate(): void {
    refuse('EACCES')
  }

  setTimes(): void {
    refuse('EACCES')
  }

  setOwnership(): void {
    refuse('EACCES')
  }

  sync(): void {}
}

/**
 * `-lock`: leads to the file of the same name in a mount of its own, since the kernel tells a FUSE file system of all locks or of none, and
 * those of SQLite are to stay in the kernel.
 */
export class LockLink extends LockEntry implements MountFile {
  readonly #target: string
  readonly #openLocks: OpenLocks

  /** `path` in the mount. */
  constructor(path: string, owner: Owner, openLocks: OpenLocks) {
    super(owner, S_IFLNK | 0o777)
    this.#target = `${'../'.repeat(path.split('/').length - 1)}${LOCKS_NAME}/${path}`
    this.#openLocks = openLocks
  }

  /** Resolves when it is there. */
  get target(): Promise<string> {
    return this.#openLocks().then(() => this.#target)
  }
}

/** The place of the lock files' mount. */
export class LockDirectory extends LockEntry implements MountFile {
  constructor(owner: Owner) {
    super(owner, S_IFDIR | 0o755)
  }
}
