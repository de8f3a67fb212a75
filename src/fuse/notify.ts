import { FUSE_NOTIFY_DELETE, FUSE_NOTIFY_INVAL_ENTRY, FUSE_NOTIFY_INVAL_INODE, FUSE_OUT_HEADER_SIZE } from './abi.js'

// Messages to the kernel that answer no request: `unique` is 0 and `error` holds the positive code.
// Writing one can wait for pages or directories that a request in flight has locked, so the thread that serves
// requests must never do it. The kernel answers the write with ENOENT when it does not know the inode or name.

/**
 * struct fuse_notify_inval_inode_out: forget the inode's attributes, and the cached pages of `length` bytes from
 * `offset` on (length 0 or less: to the end). A negative offset drops the attributes only.
 */
export function encodeInvalInode(nodeid: number, offset: number, length: number): Buffer {
  const message = notification(FUSE_NOTIFY_INVAL_INODE, 24)
  message.writeBigUInt64LE(BigInt(nodeid), 16)
  message.writeBigInt64LE(BigInt(offset), 24)
  message.writeBigInt64LE(BigInt(length), 32)
  return message
}

/** struct fuse_notify_inval_entry_out: forget what `name` in `parent` is, also that it is nothing. */
export function encodeInvalEntry(parent: number, name: string): Buffer {
  const bytes = Buffer.from(name)
  const message = notification(FUSE_NOTIFY_INVAL_ENTRY, 16 + bytes.length + 1)
  message.writeBigUInt64LE(BigInt(parent), 16)
  message.writeUInt32LE(bytes.length, 24)
  bytes.copy(message, 32)
  return message
}

/** struct fuse_notify_delete_out: `name` in `parent`, which was `child`, is deleted; watchers of inotify learn of it. */
export function encodeDelete(parent: number, child: number, name: string): Buffer {
  const bytes = Buffer.from(name)
  const message = notification(FUSE_NOTIFY_DELETE, 24 + bytes.length + 1)
  message.writeBigUInt64LE(BigInt(parent), 16)
  message.writeBigUInt64LE(BigInt(child), 24)
  message.writeUInt32LE(bytes.length, 32)
  bytes.copy(message, 40)
  return message
}

/** struct fuse_out_header with zeroed room for a body. */
function notification(code: number, bodyLength: number): Buffer {
  const message = Buffer.alloc(FUSE_OUT_HEADER_SIZE + bodyLength)
  message.writeUInt32LE(message.length, 0)
  message.writeInt32LE(code, 4)
  return message
}
