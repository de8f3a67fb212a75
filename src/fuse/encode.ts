import {
  FUSE_ATTR_OUT_SIZE,
  FUSE_ENTRY_OUT_SIZE,
  FUSE_INIT_OUT_SIZE,
  FUSE_KERNEL_VERSION,
  FUSE_LK_OUT_SIZE,
  FUSE_NAME_OFFSET,
  FUSE_OPEN_OUT_SIZE,
  FUSE_OUT_HEADER_SIZE,
  FUSE_STATFS_OUT_SIZE,
  FUSE_WRITE_OUT_SIZE,
  OFFSET_MAX,
} from './abi.js'
import type {
  Attr,
  AttrReply,
  CreateReply,
  DirectoryEntry,
  EntryReply,
  FileLock,
  OpenReply,
  StatfsReply,
} from './file-system.js'
import { encodeName } from './name-bytes.js'

const LOCK_TYPES = { read: 0, write: 1, unlock: 2 } as const

/** A reply in a buffer that is used again for each. Positions count from the end of the header. */
export class ReplyWriter {
  readonly bytes: Uint8Array
  readonly #view: DataView
  #space: Uint8Array = new Uint8Array(0)

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The bytes a body can have. */
  get capacity(): number {
    return this.bytes.length - FUSE_OUT_HEADER_SIZE
  }

  /**
   * Puts the header before a body of `bodyLength` bytes and returns the length of both. The two halves of `unique`
   * are the request's; `error` is 0 or a positive errno, and then there is no body.
   */
  finish(uniqueLow: number, uniqueHigh: number, error: number, bodyLength: number): number {
    const length = FUSE_OUT_HEADER_SIZE + bodyLength
    this.#view.setUint32(0, length, true)
    this.#view.setInt32(4, -error, true)
    this.#view.setUint32(8, uniqueLow, true)
    this.#view.setUint32(12, uniqueHigh, true)
    return length
  }

  /** The first `size` bytes of the body, to be written in place. */
  space(size: number): Uint8Array {
    if (size > this.capacity) throw new Error(`Cannot make a reply of ${size} bytes: ${this.capacity} fit`)
    // See RequestReader.data: a view costs more than the rest.
    if (this.#space.length !== size)
      this.#space = this.bytes.subarray(FUSE_OUT_HEADER_SIZE, FUSE_OUT_HEADER_SIZE + size)
    return this.#space
  }

  u16(at: number, value: number): void {
    this.#view.setUint16(FUSE_OUT_HEADER_SIZE + at, value, true)
  }

  u32(at: number, value: number): void {
    this.#view.setUint32(FUSE_OUT_HEADER_SIZE + at, value, true)
  }

  /** A whole number of at most 53 bits; a negative one in two's complement. */
  u64(at: number, value: number): void {
    const offset = FUSE_OUT_HEADER_SIZE + at
    this.#view.setUint32(offset, value, true)
    this.#view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true)
  }

  wide(at: number, value: bigint): void {
    this.#view.setBigUint64(FUSE_OUT_HEADER_SIZE + at, value, true)
  }

  zero(from: number, to: number): void {
    this.bytes.fill(0, FUSE_OUT_HEADER_SIZE + from, FUSE_OUT_HEADER_SIZE + to)
  }
}

/** What INIT settles: struct fuse_init_out. */
export interface InitReply {
  minor: number
  maxReadahead: number
  flags: number
  maxBackground: number
  congestionThreshold: number
  maxWrite: number
  maxPages: number
}

// Each of these writes one body and returns its length in bytes.

export function encodeNothing(): number {
  return 0
}

/** struct fuse_init_out. Times are exact to the nanosecond: `time_gran` 1. */
export function encodeInit(reply: ReplyWriter, init: InitReply): number {
  reply.zero(0, FUSE_INIT_OUT_SIZE)
  reply.u32(0, FUSE_KERNEL_VERSION)
  reply.u32(4, init.minor)
  reply.u32(8, init.maxReadahead)
  reply.u32(12, init.flags)
  reply.u16(16, init.maxBackground)
  reply.u16(18, init.congestionThreshold)
  reply.u32(20, init.maxWrite)
  reply.u32(24, 1)
  reply.u16(28, init.maxPages)
  return FUSE_INIT_OUT_SIZE
}

/** struct fuse_entry_out. */
export function encodeEntry(reply: ReplyWriter, entry: EntryReply): number {
  const entryValid = Math.floor(entry.entryValidSeconds)
  const attrValid = Math.floor(entry.attrValidSeconds)
  reply.u64(0, entry.nodeid)
  reply.u64(8, 0)
  reply.u64(16, entryValid)
  reply.u64(24, attrValid)
  reply.u32(32, (entry.entryValidSeconds - entryValid) * 1e9)
  reply.u32(36, (entry.attrValidSeconds - attrValid) * 1e9)
  encodeAttrFields(reply, 40, entry.attr)
  return FUSE_ENTRY_OUT_SIZE
}

/** struct fuse_attr_out. */
export function encodeAttr(reply: ReplyWriter, { attrValidSeconds, attr }: AttrReply): number {
  const valid = Math.floor(attrValidSeconds)
  reply.u64(0, valid)
  reply.u32(8, (attrValidSeconds - valid) * 1e9)
  reply.u32(12, 0)
  encodeAttrFields(reply, 16, attr)
  return FUSE_ATTR_OUT_SIZE
}

/** struct fuse_attr. */
function encodeAttrFields(reply: ReplyWriter, at: number, attr: Attr): void {
  reply.u64(at, attr.ino)
  reply.u64(at + 8, attr.size)
  reply.u64(at + 16, attr.blocks)
  reply.u64(at + 24, attr.atime.seconds)
  reply.u64(at + 32, attr.mtime.seconds)
  reply.u64(at + 40, attr.ctime.seconds)
  reply.u32(at + 48, attr.atime.nanoseconds)
  reply.u32(at + 52, attr.mtime.nanoseconds)
  reply.u32(at + 56, attr.ctime.nanoseconds)
  reply.u32(at + 60, attr.mode)
  reply.u32(at + 64, attr.nlink)
  reply.u32(at + 68, attr.uid)
  reply.u32(at + 72, attr.gid)
  reply.u32(at + 76, 0)
  reply.u32(at + 80, attr.blksize)
  reply.u32(at + 84, 0)
}

/** struct fuse_open_out. */
export function encodeOpen(reply: ReplyWriter, open: OpenReply): number {
  encodeOpenFields(reply, 0, open)
  return FUSE_OPEN_OUT_SIZE
}

/** struct fuse_entry_out, struct fuse_open_out. */
export function encodeCreate(reply: ReplyWriter, create: CreateReply): number {
  encodeEntry(reply, create)
  encodeOpenFields(reply, FUSE_ENTRY_OUT_SIZE, create)
  return FUSE_ENTRY_OUT_SIZE + FUSE_OPEN_OUT_SIZE
}

function encodeOpenFields(reply: ReplyWriter, at: number, open: OpenReply): void {
  reply.u64(at, open.fh)
  reply.u32(at + 8, open.openFlags)
  reply.u32(at + 12, 0)
}

/** READ: a number when that many bytes are in place already. */
export function encodeRead(reply: ReplyWriter, read: number | Uint8Array): number {
  if (typeof read === 'number') return read
  reply.space(read.length).set(read)
  return read.length
}

/** struct fuse_write_out. */
export function encodeWrite(reply: ReplyWriter, size: number): number {
  reply.u32(0, size)
  reply.u32(4, 0)
  return FUSE_WRITE_OUT_SIZE
}

/** READLINK: the target, without a NUL. */
export function encodeString(reply: ReplyWriter, value: string): number {
  const bytes = encodeName(value)
  reply.space(bytes.length).set(bytes)
  return bytes.length
}

/** struct fuse_kstatfs. */
export function encodeStatfs(reply: ReplyWriter, statfs: StatfsReply): number {
  reply.zero(0, FUSE_STATFS_OUT_SIZE)
  reply.u64(0, statfs.blocks)
  reply.u64(8, statfs.bfree)
  reply.u64(16, statfs.bavail)
  reply.u64(24, statfs.files)
  reply.u64(32, statfs.ffree)
  reply.u32(40, statfs.bsize)
  reply.u32(44, statfs.namelen)
  reply.u32(48, statfs.frsize)
  return FUSE_STATFS_OUT_SIZE
}

/** struct fuse_file_lock. */
export function encodeLock(reply: ReplyWriter, lock: FileLock): number {
  reply.u64(0, lock.start)
  reply.wide(8, lock.end === Number.POSITIVE_INFINITY ? OFFSET_MAX : BigInt(lock.end))
  reply.u32(16, LOCK_TYPES[lock.type])
  reply.u32(20, lock.pid)
  return FUSE_LK_OUT_SIZE
}

/** READDIR: struct fuse_dirent, each padded to 8 bytes, as many of `entries` as fit into `size` bytes. */
export function encodeDirectory(reply: ReplyWriter, entries: Iterable<DirectoryEntry>, size: number): number {
  let at = 0
  for (const entry of entries) {
    const name = encodeName(entry.name)
    const end = at + align(FUSE_NAME_OFFSET + name.length)
    if (end > Math.min(size, reply.capacity)) break
    reply.u64(at, entry.ino)
    reply.u64(at + 8, entry.offset)
    reply.u32(at + 16, name.length)
    // DT_* of dirent.h is the file type of the mode.
    reply.u32(at + 20, (entry.mode >>> 12) & 0xf)
    reply.zero(at + FUSE_NAME_OFFSET, end)
    reply.bytes.set(name, FUSE_OUT_HEADER_SIZE + at + FUSE_NAME_OFFSET)
    at = end
  }
  return at
}

/** FUSE_REC_ALIGN. */
function align(length: number): number {
  return (length + 7) & ~7
}
