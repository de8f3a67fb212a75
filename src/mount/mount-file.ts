import type { Stats } from 'node:fs'
import { constants } from 'node:os'
import { FuseError } from '../fuse/errno.js'
import { type Attr, type Context, type Timestamp, timestampFromMs } from '../fuse/file-system.js'

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
  /** Only called while the file has its name. */
  setOwnership(changes: OwnershipChanges): void
  sync(): void
}

export type FileAttributes = Omit<Attr, 'ino'>

/** What chmod and chown change; the rest stays. */
export interface OwnershipChanges {
  readonly mode: number | undefined
  readonly uid: number | undefined
  readonly gid: number | undefined
}

/** An hour: everything that changes a cached file or name goes through the mount, so the kernel knows it first. */
export const CACHED_SECONDS = 3600
/** What the kernel must ask for each time. */
export const NEVER_CACHED = 0

/** User and group that own what nobody made: the daemon's, as in LiteFS. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

export const S_IFREG = 0o100000
export const S_IFDIR = 0o040000
export const S_IFLNK = 0o120000
/** The type in a mode. */
export const S_IFMT = 0o170000
/** The permissions in a mode. */
export const PERMISSIONS = 0o7777
/** As stat(2) suggests for ext4. */
export const BLOCK_SIZE = 4096

/** The attributes of a file that is in the mount what it is in the data directory. */
export function attributesOf(stat: Stats): FileAttributes {
  const { size, blocks, mode, nlink, uid, gid } = stat
  return { ...timesOf(stat), size, blocks, mode, nlink, uid, gid, blksize: BLOCK_SIZE }
}

export function timesOf(stat: Pick<Stats, 'atimeMs' | 'mtimeMs' | 'ctimeMs'>): Pick<Attr, 'atime' | 'mtime' | 'ctime'> {
  return {
    atime: timestampFromMs(stat.atimeMs),
    mtime: timestampFromMs(stat.mtimeMs),
    ctime: timestampFromMs(stat.ctimeMs),
  }
}

/** Seconds as utimes(2) takes them; `otherwiseMs` when the time is to stay. */
export function utimeSeconds(time: Timestamp | 'now' | undefined, otherwiseMs: number): number {
  if (time === undefined) return otherwiseMs / 1000
  return time === 'now' ? Date.now() / 1000 : time.seconds + time.nanoseconds / 1e9
}

/** What a file answers that has no such operation. */
export function refuse(errno: keyof typeof constants.errno): never {
  throw new FuseError(constants.errno[errno])
}
