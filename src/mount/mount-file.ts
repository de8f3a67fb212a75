import type { Attr, Context, Timestamp } from '../fuse/file-system.js'

/** What an inode of the mount is, apart from its number: one class per kind of file. */
export interface MountFile {
  /** Everything but the inode number. `linked` is false once the name was removed. */
  attributes(linked: boolean): FileAttributes
  /** Seconds for which the kernel may believe the attributes. */
  readonly attrValidSeconds: number
  /** FOPEN_* flags of abi.ts. Throws FuseError or a system error. */
  open(flags: number, linked: boolean): number
  close(): void
  read(into: Uint8Array, size: number, offset: number, context: Context): number | Promise<Uint8Array>
  write(data: Uint8Array, offset: number): void
  truncate(size: number): void
  setTimes(atime: Timestamp | 'now' | undefined, mtime: Timestamp | 'now' | undefined): void
  sync(): void
}

export type FileAttributes = Omit<Attr, 'ino'>

/** An hour: everything that changes a cached file or name goes through the mount, so the kernel knows it first. */
export const CACHED_SECONDS = 3600
/** What the kernel must ask for each time. */
export const NEVER_CACHED = 0

/** User and group that own everything in the mount: the daemon's, as in LiteFS. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

export const S_IFREG = 0o100000
export const S_IFDIR = 0o040000
/** As stat(2) suggests for ext4. */
export const BLOCK_SIZE = 4096
