import { constants } from 'node:os'
import { FuseError } from '../fuse/errno.js'
import { timestampFromMs } from '../fuse/file-system.js'
import { BLOCK_SIZE, CACHED_SECONDS, type FileAttributes, type MountFile, type Owner, S_IFREG } from './mount-file.js'

const { EACCES } = constants.errno

/** `-lock`: empty; programs open it to take locks on it. */
export class LockFile implements MountFile {
  readonly attrValidSeconds = CACHED_SECONDS
  readonly #owner: Owner

  constructor(owner: Owner) {
    this.#owner = owner
  }

  attributes(linked: boolean): FileAttributes {
    const never = timestampFromMs(0)
    return {
      size: 0,
      blocks: 0,
      atime: never,
      mtime: never,
      ctime: never,
      mode: S_IFREG | 0o666,
      nlink: linked ? 1 : 0,
      uid: this.#owner.uid,
      gid: this.#owner.gid,
      blksize: BLOCK_SIZE,
    }
  }

  open(): number {
    return 0
  }

  close(): void {}

  read(): number {
    return 0
  }

  write(): void {
    throw new FuseError(EACCES)
  }

  truncate(): void {
    throw new FuseError(EACCES)
  }

  setTimes(): void {
    throw new FuseError(EACCES)
  }

  setOwnership(): void {
    throw new FuseError(EACCES)
  }

  sync(): void {}
}
