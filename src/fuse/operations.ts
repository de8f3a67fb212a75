import assert from 'node:assert/strict'
import { constants } from 'node:os'
import * as abi from './abi.js'
import type { RequestReader } from './decode.js'
import * as decode from './decode.js'
import type { ReplyWriter } from './encode.js'
import * as encode from './encode.js'
import { FuseError } from './errno.js'
import type { Answer, Context, DirectoryEntry, FileSystem } from './file-system.js'

const { ENOSYS, ENOTTY } = constants.errno

/** What `answer` returns when the kernel awaits no reply. */
export const NO_REPLY = -1

/** Writes the body of a reply that was not ready at once, and returns its length. */
export type LateReply = (reply: ReplyWriter) => number

/** One row of the table of operations. */
export interface Operation {
  readonly opcode: number
  /** The kernel's name without FUSE_, for traces and errors. */
  readonly name: string
  /** The least length of a body in bytes: that of the struct at its start. */
  readonly bodySize: number
  /** Whether the kernel awaits a reply, be it an error. */
  readonly replies: boolean
  /** Has the file system do it; returns the length of the reply's body, already in `reply`. Throws what it throws. */
  answer(
    fileSystem: FileSystem,
    request: RequestReader,
    context: Context,
    reply: ReplyWriter,
  ): number | Promise<LateReply>
}

type Run<T> = (fileSystem: FileSystem, request: RequestReader, context: Context, reply: ReplyWriter) => Answer<T>

function operation<T>(
  opcode: number,
  name: string,
  bodySize: number,
  run: Run<T>,
  encodeBody: (reply: ReplyWriter, value: T) => number,
): Operation {
  return {
    opcode,
    name,
    bodySize,
    replies: true,
    answer(fileSystem, request, context, reply) {
      const value = run(fileSystem, request, context, reply)
      if (value instanceof Promise) return value.then((late) => (into: ReplyWriter) => encodeBody(into, late))
      return encodeBody(reply, value)
    },
  }
}

function silent(
  opcode: number,
  name: string,
  bodySize: number,
  run: (fileSystem: FileSystem, request: RequestReader) => void,
): Operation {
  return {
    opcode,
    name,
    bodySize,
    replies: false,
    answer(fileSystem, request) {
      run(fileSystem, request)
      return NO_REPLY
    },
  }
}

/** After ENOSYS the kernel does not ask again, and does what it does for a file system without the operation. */
function refused(opcode: number, name: string, errno: number): Operation {
  return {
    opcode,
    name,
    bodySize: 0,
    replies: true,
    answer() {
      throw new FuseError(errno)
    },
  }
}

function notThere(): never {
  throw new FuseError(ENOSYS)
}

const { encodeNothing, encodeEntry, encodeAttr, encodeOpen, encodeCreate } = encode

const rename = (decodeBody: typeof decode.decodeRename2): Run<void> => {
  return (fs, request, context) => {
    const { newParent, flags, name, newName } = decodeBody(request)
    return fs.rename(request.nodeid, name, newParent, newName, flags, context)
  }
}

const setlk = (wait: boolean): Run<void> => {
  return (fs, request, context) => {
    if (fs.setlk === undefined) notThere()
    const { fh, owner, lock } = decode.decodeLock(request)
    return fs.setlk(request.nodeid, fh, owner, lock, wait, context)
  }
}

function read(fs: FileSystem, request: RequestReader, context: Context, reply: ReplyWriter) {
  const { fh, offset, size } = decode.decodeRead(request)
  const value = fs.read(request.nodeid, fh, offset, size, reply.space(size), context)
  // A reply longer than was asked for is refused by the kernel, and the application would wait for ever.
  if (value instanceof Promise) return value.then((bytes) => bytes.subarray(0, size))
  assert(value >= 0 && value <= size)
  return value
}

interface Listing {
  entries: Iterable<DirectoryEntry>
  size: number
}

function readdir(fs: FileSystem, request: RequestReader, context: Context): Answer<Listing> {
  const { fh, offset, size } = decode.decodeRead(request)
  const entries = fs.readdir(request.nodeid, fh, offset, context)
  if (entries instanceof Promise) return entries.then((late) => ({ entries: late, size }))
  return { entries, size }
}

const rows: Operation[] = [
  operation(
    abi.FUSE_LOOKUP,
    'LOOKUP',
    1,
    (fs, request, context) => fs.lookup(request.nodeid, request.name(0), context),
    encodeEntry,
  ),
  silent(abi.FUSE_FORGET, 'FORGET', abi.FUSE_FORGET_IN_SIZE, (fs, request) =>
    fs.forget(request.nodeid, request.u64(0)),
  ),
  silent(abi.FUSE_BATCH_FORGET, 'BATCH_FORGET', abi.FUSE_BATCH_FORGET_IN_SIZE, (fs, request) => {
    decode.decodeBatchForget(request, (nodeid, nlookup) => fs.forget(nodeid, nlookup))
  }),
  operation(
    abi.FUSE_GETATTR,
    'GETATTR',
    abi.FUSE_GETATTR_IN_SIZE,
    (fs, request, context) => fs.getattr(request.nodeid, decode.decodeGetattr(request), context),
    encodeAttr,
  ),
  operation(
    abi.FUSE_SETATTR,
    'SETATTR',
    abi.FUSE_SETATTR_IN_SIZE,
    (fs, request, context) => fs.setattr(request.nodeid, decode.decodeSetattr(request), context),
    encodeAttr,
  ),
  operation(
    abi.FUSE_READLINK,
    'READLINK',
    0,
    (fs, request, context) => fs.readlink(request.nodeid, context),
    encode.encodeString,
  ),
  operation(
    abi.FUSE_SYMLINK,
    'SYMLINK',
    2,
    (fs, request, context) => fs.symlink(request.nodeid, request.name(0), request.string(0, 1), context),
    encodeEntry,
  ),
  operation(
    abi.FUSE_MKNOD,
    'MKNOD',
    abi.FUSE_MKNOD_IN_SIZE,
    (fs, request, context) => {
      const { mode, rdev, name } = decode.decodeMknod(request)
      return fs.mknod(request.nodeid, name, mode, rdev, context)
    },
    encodeEntry,
  ),
  operation(
    abi.FUSE_MKDIR,
    'MKDIR',
    abi.FUSE_MKDIR_IN_SIZE,
    (fs, request, context) => {
      const { mode, name } = decode.decodeMkdir(request)
      return fs.mkdir(request.nodeid, name, mode, context)
    },
    encodeEntry,
  ),
  operation(
    abi.FUSE_UNLINK,
    'UNLINK',
    1,
    (fs, request, context) => fs.unlink(request.nodeid, request.name(0), context),
    encodeNothing,
  ),
  operation(
    abi.FUSE_RMDIR,
    'RMDIR',
    1,
    (fs, request, context) => fs.rmdir(request.nodeid, request.name(0), context),
    encodeNothing,
  ),
  operation(abi.FUSE_RENAME, 'RENAME', abi.FUSE_RENAME_IN_SIZE, rename(decode.decodeRename), encodeNothing),
  operation(abi.FUSE_RENAME2, 'RENAME2', abi.FUSE_RENAME2_IN_SIZE, rename(decode.decodeRename2), encodeNothing),
  operation(
    abi.FUSE_LINK,
    'LINK',
    abi.FUSE_LINK_IN_SIZE,
    (fs, request, context) => {
      const { nodeid, newName } = decode.decodeLink(request)
      return fs.link(nodeid, request.nodeid, newName, context)
    },
    encodeEntry,
  ),
  operation(
    abi.FUSE_OPEN,
    'OPEN',
    abi.FUSE_OPEN_IN_SIZE,
    (fs, request, context) => fs.open(request.nodeid, request.u32(0), context),
    encodeOpen,
  ),
  operation(
    abi.FUSE_CREATE,
    'CREATE',
    abi.FUSE_CREATE_IN_SIZE,
    (fs, request, context) => {
      const { flags, mode, name } = decode.decodeCreate(request)
      return fs.create(request.nodeid, name, mode, flags, context)
    },
    encodeCreate,
  ),
  operation<number | Uint8Array>(abi.FUSE_READ, 'READ', abi.FUSE_READ_IN_SIZE, read, encode.encodeRead),
  operation(
    abi.FUSE_WRITE,
    'WRITE',
    abi.FUSE_WRITE_IN_SIZE,
    (fs, request, context) => {
      const { fh, offset, data } = decode.decodeWrite(request)
      return fs.write(request.nodeid, fh, offset, data, context)
    },
    encode.encodeWrite,
  ),
  operation(
    abi.FUSE_STATFS,
    'STATFS',
    0,
    (fs, request, context) => fs.statfs(request.nodeid, context),
    encode.encodeStatfs,
  ),
  operation(
    abi.FUSE_RELEASE,
    'RELEASE',
    abi.FUSE_RELEASE_IN_SIZE,
    (fs, request, context) => {
      const { fh, flags } = decode.decodeRelease(request)
      return fs.release(request.nodeid, fh, flags, context)
    },
    encodeNothing,
  ),
  operation(
    abi.FUSE_FSYNC,
    'FSYNC',
    abi.FUSE_FSYNC_IN_SIZE,
    (fs, request, context) => {
      const { fh, dataOnly } = decode.decodeFsync(request)
      return fs.fsync(request.nodeid, fh, dataOnly, context)
    },
    encodeNothing,
  ),
  operation(
    abi.FUSE_FLUSH,
    'FLUSH',
    abi.FUSE_FLUSH_IN_SIZE,
    (fs, request, context) => {
      if (fs.flush === undefined) notThere()
      const { fh, owner } = decode.decodeFlush(request)
      return fs.flush(request.nodeid, fh, owner, context)
    },
    encodeNothing,
  ),
  operation(
    abi.FUSE_OPENDIR,
    'OPENDIR',
    abi.FUSE_OPEN_IN_SIZE,
    (fs, request, context) => fs.opendir(request.nodeid, request.u32(0), context),
    encodeOpen,
  ),
  operation(abi.FUSE_READDIR, 'READDIR', abi.FUSE_READ_IN_SIZE, readdir, (reply, { entries, size }) =>
    encode.encodeDirectory(reply, entries, size),
  ),
  operation(
    abi.FUSE_RELEASEDIR,
    'RELEASEDIR',
    abi.FUSE_RELEASE_IN_SIZE,
    (fs, request, context) => fs.releasedir(request.nodeid, request.u64(0), context),
    encodeNothing,
  ),
  operation(
    abi.FUSE_FSYNCDIR,
    'FSYNCDIR',
    abi.FUSE_FSYNC_IN_SIZE,
    (fs, request, context) => {
      const { fh, dataOnly } = decode.decodeFsync(request)
      return fs.fsyncdir(request.nodeid, fh, dataOnly, context)
    },
    encodeNothing,
  ),
  operation(
    abi.FUSE_GETLK,
    'GETLK',
    abi.FUSE_LK_IN_SIZE,
    (fs, request, context) => {
      if (fs.getlk === undefined) notThere()
      const { fh, owner, lock } = decode.decodeLock(request)
      return fs.getlk(request.nodeid, fh, owner, lock, context)
    },
    encode.encodeLock,
  ),
  operation(abi.FUSE_SETLK, 'SETLK', abi.FUSE_LK_IN_SIZE, setlk(false), encodeNothing),
  operation(abi.FUSE_SETLKW, 'SETLKW', abi.FUSE_LK_IN_SIZE, setlk(true), encodeNothing),
  operation(abi.FUSE_DESTROY, 'DESTROY', 0, (fs) => fs.destroy(), encodeNothing),
  refused(abi.FUSE_ACCESS, 'ACCESS', ENOSYS),
  refused(abi.FUSE_SETXATTR, 'SETXATTR', ENOSYS),
  refused(abi.FUSE_GETXATTR, 'GETXATTR', ENOSYS),
  refused(abi.FUSE_LISTXATTR, 'LISTXATTR', ENOSYS),
  refused(abi.FUSE_REMOVEXATTR, 'REMOVEXATTR', ENOSYS),
  refused(abi.FUSE_BMAP, 'BMAP', ENOSYS),
  refused(abi.FUSE_IOCTL, 'IOCTL', ENOTTY),
  refused(abi.FUSE_POLL, 'POLL', ENOSYS),
  refused(abi.FUSE_LSEEK, 'LSEEK', ENOSYS),
  // The kernel turns ENOSYS into EOPNOTSUPP for the application here.
  refused(abi.FUSE_FALLOCATE, 'FALLOCATE', ENOSYS),
  refused(abi.FUSE_COPY_FILE_RANGE, 'COPY_FILE_RANGE', ENOSYS),
]

/** The operations of a file system by opcode, with holes; INIT and INTERRUPT concern the session itself. */
export const OPERATIONS: readonly (Operation | undefined)[] = Array.from({ length: 64 }, (_, opcode) =>
  rows.find((row) => row.opcode === opcode),
)
