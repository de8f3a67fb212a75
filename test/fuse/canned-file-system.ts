// A FileSystem that notes every call and gives fixed answers.
import type { Attr, CreateReply, EntryReply, FileLock, FileSystem } from '../../src/fuse/file-system.js'

/** Each field has a value of its own, so that a mix-up shows. */
export const ATTR: Attr = {
  ino: 0x11,
  size: 0x1_0000_0022,
  blocks: 0x33,
  atime: { seconds: 0x44, nanoseconds: 0x55 },
  mtime: { seconds: -1, nanoseconds: 0x66 },
  ctime: { seconds: 0x1_0000_0077, nanoseconds: 0x88 },
  mode: 0o100644,
  nlink: 2,
  uid: 0x99,
  gid: 0xaa,
  blksize: 4096,
}

const ENTRY: EntryReply = { nodeid: 0xbb, entryValidSeconds: 3600, attrValidSeconds: 1.5, attr: ATTR }
const CREATED: CreateReply = { ...ENTRY, fh: 0xcc, openFlags: 2 }
const LOCK: FileLock = { type: 'read', start: 1, end: Number.POSITIVE_INFINITY, pid: 5 }

export interface Canned {
  fileSystem: FileSystem
  /** The name and arguments of each call; contexts as [pid, uid, gid], buffers as text. */
  calls: unknown[][]
}

/** `changes` replaces methods; those replaced note nothing. */
export function cannedFileSystem(changes: Partial<FileSystem> = {}): Canned {
  const calls: unknown[][] = []
  const noting = <T>(name: string, answer: T) => {
    return (...args: unknown[]): T => {
      calls.push([name, ...args.map(plain)])
      return answer
    }
  }
  const statfs = { blocks: 1, bfree: 2, bavail: 3, files: 4, ffree: 5, bsize: 6, namelen: 7, frsize: 8 }
  const fileSystem: FileSystem = {
    lookup: noting('lookup', ENTRY),
    forget: noting('forget', undefined),
    getattr: noting('getattr', { attrValidSeconds: 1.5, attr: ATTR }),
    setattr: noting('setattr', { attrValidSeconds: 1.5, attr: ATTR }),
    readlink: noting('readlink', 'target'),
    symlink: noting('symlink', ENTRY),
    mknod: noting('mknod', ENTRY),
    mkdir: noting('mkdir', ENTRY),
    unlink: noting('unlink', undefined),
    rmdir: noting('rmdir', undefined),
    rename: noting('rename', undefined),
    link: noting('link', ENTRY),
    open: noting('open', { fh: 0xcc, openFlags: 2 }),
    create: noting('create', CREATED),
    read(nodeid, fh, offset, size, into) {
      calls.push(['read', nodeid, fh, offset, size, into.length])
      into.set([1, 2, 3])
      return 3
    },
    write: noting('write', 6),
    statfs: noting('statfs', statfs),
    release: noting('release', undefined),
    fsync: noting('fsync', undefined),
    flush: noting('flush', undefined),
    opendir: noting('opendir', { fh: 0xdd, openFlags: 0 }),
    readdir: noting('readdir', [
      { name: 'abcdefgh', ino: 0x11, mode: 0o100644, offset: 1 },
      { name: 'ü', ino: 0x12, mode: 0o040755, offset: 2 },
    ]),
    releasedir: noting('releasedir', undefined),
    fsyncdir: noting('fsyncdir', undefined),
    getlk: noting('getlk', LOCK),
    setlk: noting('setlk', undefined),
    destroy: noting('destroy', undefined),
    ...changes,
  }
  return { fileSystem, calls }
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  if (typeof value !== 'object' || value === null || !('pid' in value) || 'start' in value) return value
  const context = value as { pid: number; uid: number; gid: number }
  return [context.pid, context.uid, context.gid]
}
