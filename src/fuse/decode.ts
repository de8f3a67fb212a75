import { constants } from 'node:os'
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_CTIME,
  FATTR_FH,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_FORGET_ONE_SIZE,
  FUSE_FSYNC_FDATASYNC,
  FUSE_GETATTR_FH,
  FUSE_IN_HEADER_SIZE,
  FUSE_WRITE_IN_SIZE,
  OFFSET_MAX,
} from './abi.js'
import { FuseError } from './errno.js'
import type { FileLock, SetattrChanges, Timestamp } from './file-system.js'
import { decodeName } from './name-bytes.js'

const { EFBIG, EINVAL } = constants.errno
const { F_RDLCK, F_WRLCK, F_UNLCK } = { F_RDLCK: 0, F_WRLCK: 1, F_UNLCK: 2 }

/**
 * A request in a buffer that is used again for each: everything read from it is valid, and `data` points into it,
 * until the next `begin`. Positions count from the end of the header. The fixed part of a body must have been checked
 * against `bodyLength` by the caller; what follows it (names, data) is checked here.
 */
export class RequestReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #length = 0
  #data: Uint8Array = new Uint8Array(0)

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Starts a request of `length` bytes, at least a header and at most the buffer. */
  begin(length: number): void {
    this.#length = length
  }

  // struct fuse_in_header
  get len(): number {
    return this.#view.getUint32(0, true)
  }
  get opcode(): number {
    return this.#view.getUint32(4, true)
  }
  get uniqueLow(): number {
    return this.#view.getUint32(8, true)
  }
  get uniqueHigh(): number {
    return this.#view.getUint32(12, true)
  }
  get nodeid(): number {
    return this.u64(16 - FUSE_IN_HEADER_SIZE)
  }
  get uid(): number {
    return this.#view.getUint32(24, true)
  }
  get gid(): number {
    return this.#view.getUint32(28, true)
  }
  get pid(): number {
    return this.#view.getUint32(32, true)
  }

  get bodyLength(): number {
    return this.#length - FUSE_IN_HEADER_SIZE
  }

  u32(at: number): number {
    return this.#view.getUint32(FUSE_IN_HEADER_SIZE + at, true)
  }

  /** A node id, file handle or count, all of which we chose ourselves: below 2^53. */
  u64(at: number): number {
    const value = this.#wide(at)
    if (value > Number.MAX_SAFE_INTEGER) throw new Error(`Cannot read a request: a number of ${value} at ${at}`)
    return value
  }

  /** A position or size in a file, where the application chooses; EFBIG from 2^53 on. */
  position(at: number): number {
    const value = this.#wide(at)
    if (value > Number.MAX_SAFE_INTEGER) throw new FuseError(EFBIG)
    return value
  }

  /** 64 bits that have no meaning to us. */
  opaque(at: number): bigint {
    return this.#view.getBigUint64(FUSE_IN_HEADER_SIZE + at, true)
  }

  /** A signed 64-bit number of seconds. */
  seconds(at: number): number {
    return Number(this.#view.getBigInt64(FUSE_IN_HEADER_SIZE + at, true))
  }

  /** The `index`th (0, 1) of the strings with a NUL after each that fill the body from `at` on. */
  string(at: number, index = 0): string {
    let start = FUSE_IN_HEADER_SIZE + at
    for (let skipped = 0; skipped < index; skipped++) start = this.#nul(start) + 1
    return decodeName(this.#bytes.subarray(start, this.#nul(start)))
  }

  /** Like `string`, for one path component. */
  name(at: number, index = 0): string {
    const name = this.string(at, index)
    if (name === '' || name === '.' || name === '..' || name.includes('/')) {
      throw new Error(`Cannot read a request: "${name}" is no name`)
    }
    return name
  }

  /** The `size` bytes that follow struct fuse_write_in, in place. */
  data(size: number): Uint8Array {
    if (size > this.bodyLength - FUSE_WRITE_IN_SIZE)
      throw new Error(`Cannot read a request: ${size} bytes of data are not there`)
    // Making a view costs more than the rest of the decoding, and writes of one page follow one another.
    if (this.#data.length !== size) {
      const start = FUSE_IN_HEADER_SIZE + FUSE_WRITE_IN_SIZE
      this.#data = this.#bytes.subarray(start, start + size)
    }
    return this.#data
  }

  #wide(at: number): number {
    const offset = FUSE_IN_HEADER_SIZE + at
    return this.#view.getUint32(offset + 4, true) * 0x1_0000_0000 + this.#view.getUint32(offset, true)
  }

  #nul(start: number): number {
    const nul = this.#bytes.indexOf(0, start)
    if (nul < 0 || nul >= this.#length) throw new Error('Cannot read a request: a name does not end')
    return nul
  }
}

/** struct fuse_init_in. */
export function decodeInit(request: RequestReader) {
  return { major: request.u32(0), minor: request.u32(4), maxReadahead: request.u32(8), flags: request.u32(12) }
}

/** struct fuse_getattr_in: the file handle, when one is given. */
export function decodeGetattr(request: RequestReader): number | undefined {
  return (request.u32(0) & FUSE_GETATTR_FH) === 0 ? undefined : request.u64(8)
}

/** struct fuse_setattr_in. */
export function decodeSetattr(request: RequestReader): SetattrChanges {
  const valid = request.u32(0)
  const changes: SetattrChanges = {}
  if (valid & FATTR_FH) changes.fh = request.u64(8)
  if (valid & FATTR_SIZE) changes.size = request.position(16)
  if (valid & FATTR_ATIME) changes.atime = valid & FATTR_ATIME_NOW ? 'now' : timestamp(request, 32, 56)
  if (valid & FATTR_MTIME) changes.mtime = valid & FATTR_MTIME_NOW ? 'now' : timestamp(request, 40, 60)
  if (valid & FATTR_CTIME) changes.ctime = timestamp(request, 48, 64)
  if (valid & FATTR_MODE) changes.mode = request.u32(68)
  if (valid & FATTR_UID) changes.uid = request.u32(76)
  if (valid & FATTR_GID) changes.gid = request.u32(80)
  return changes
}

function timestamp(request: RequestReader, secondsAt: number, nanosecondsAt: number): Timestamp {
  const seconds = request.seconds(secondsAt)
  const nanoseconds = request.u32(nanosecondsAt)
  if (!Number.isSafeInteger(seconds) || nanoseconds > 999_999_999) throw new FuseError(EINVAL)
  return { seconds, nanoseconds }
}

/** struct fuse_mknod_in; the name follows. `umask` is already applied. */
export function decodeMknod(request: RequestReader) {
  return { mode: request.u32(0), rdev: request.u32(4), name: request.name(16) }
}

/** struct fuse_mkdir_in; the name follows. */
export function decodeMkdir(request: RequestReader) {
  return { mode: request.u32(0), name: request.name(8) }
}

/** struct fuse_rename_in; both names follow. */
export function decodeRename(request: RequestReader) {
  return { newParent: request.u64(0), flags: 0, name: request.name(8), newName: request.name(8, 1) }
}

/** struct fuse_rename2_in; both names follow. */
export function decodeRename2(request: RequestReader) {
  return { newParent: request.u64(0), flags: request.u32(8), name: request.name(16), newName: request.name(16, 1) }
}

/** struct fuse_link_in; the new name follows. */
export function decodeLink(request: RequestReader) {
  return { nodeid: request.u64(0), newName: request.name(8) }
}

/** struct fuse_create_in; the name follows. */
export function decodeCreate(request: RequestReader) {
  return { flags: request.u32(0), mode: request.u32(4), name: request.name(16) }
}

/** struct fuse_read_in, also of READDIR. */
export function decodeRead(request: RequestReader) {
  return { fh: request.u64(0), offset: request.position(8), size: request.u32(16) }
}

/** struct fuse_write_in; the data follow, in place. */
export function decodeWrite(request: RequestReader) {
  return { fh: request.u64(0), offset: request.position(8), data: request.data(request.u32(16)) }
}

/** struct fuse_release_in. */
export function decodeRelease(request: RequestReader) {
  return { fh: request.u64(0), flags: request.u32(8) }
}

/** struct fuse_flush_in. */
export function decodeFlush(request: RequestReader) {
  return { fh: request.u64(0), owner: request.opaque(16) }
}

/** struct fuse_fsync_in. */
export function decodeFsync(request: RequestReader) {
  return { fh: request.u64(0), dataOnly: (request.u32(8) & FUSE_FSYNC_FDATASYNC) !== 0 }
}

/** struct fuse_lk_in. `lk_flags` tells flock(2) locks apart, which are never forwarded to us. */
export function decodeLock(request: RequestReader): { fh: number; owner: bigint; lock: FileLock } {
  const last = request.opaque(24)
  const end = last === OFFSET_MAX ? Number.POSITIVE_INFINITY : request.position(24)
  const lock = { start: request.position(16), end, type: lockType(request.u32(32)), pid: request.u32(36) }
  if (lock.end < lock.start) throw new FuseError(EINVAL)
  return { fh: request.u64(0), owner: request.opaque(8), lock }
}

function lockType(type: number): FileLock['type'] {
  if (type === F_RDLCK) return 'read'
  if (type === F_WRLCK) return 'write'
  if (type === F_UNLCK) return 'unlock'
  throw new FuseError(EINVAL)
}

/** struct fuse_batch_forget_in: calls `each` for the fuse_forget_one that follow. */
export function decodeBatchForget(request: RequestReader, each: (nodeid: number, nlookup: number) => void): void {
  const count = request.u32(0)
  if (count > (request.bodyLength - 8) / FUSE_FORGET_ONE_SIZE) {
    throw new Error(`Cannot read a request: ${count} forgotten nodes are not there`)
  }
  for (let index = 0; index < count; index++) {
    const at = 8 + index * FUSE_FORGET_ONE_SIZE
    each(request.u64(at), request.u64(at + 8))
  }
}
