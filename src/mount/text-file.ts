import { constants } from 'node:os'
import { FOPEN_DIRECT_IO } from '../fuse/abi.js'
import { FuseError } from '../fuse/errno.js'
import { timestampFromMs } from '../fuse/file-system.js'
import { BLOCK_SIZE, type FileAttributes, type MountFile, NEVER_CACHED, type Owner, S_IFREG } from './mount-file.js'

const { EACCES } = constants.errno
/** O_ACCMODE of open(2). */
const ACCESS_MODE = 3

export interface TextSource {
  /** Bytes that the text has now. */
  size(): number
  /** Permissions. */
  readonly mode: number
  /** Milliseconds since the epoch. */
  modifiedMs(): number
  /** The same of its ctime: a program that archives a file finds it changed when that moves. */
  changedMs(): number
  /** The content now, or later where it has to be found out. */
  text(): string | Promise<string>
}

/** A read-only file whose content is made when it is read: `-pos` and `.lag`. The kernel caches nothing of it. */
export class TextFile implements MountFile {
  readonly attrValidSeconds = NEVER_CACHED
  readonly #source: TextSource
  readonly #owner: Owner

  constructor(source: TextSource, owner: Owner) {
    this.#source = source
    this.#owner = owner
  }

  attributes(linked: boolean): FileAttributes {
    const time = timestampFromMs(this.#source.modifiedMs())
    return {
      size: this.#source.size(),
      blocks: 0,
      atime: time,
      mtime: time,
      ctime: timestampFromMs(this.#source.changedMs()),
      mode: S_IFREG | this.#source.mode,
      nlink: linked ? 1 : 0,
      uid: this.#owner.uid,
      gid: this.#owner.gid,
      blksize: BLOCK_SIZE,
    }
  }

  open(flags: number): number {
    if ((flags & ACCESS_MODE) !== 0) throw new FuseError(EACCES)
    return FOPEN_DIRECT_IO
  }

  close(): void {}

  read(into: Uint8Array, size: number, offset: number): number | Promise<Uint8Array> {
    const text = this.#source.text()
    if (typeof text !== 'string') return text.then((late) => Buffer.from(late).subarray(offset, offset + size))
    const bytes = Buffer.from(text).subarray(offset, offset + size)
    into.set(bytes)
    return bytes.length
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
