/** What the session asks of a file system: one method per operation of the kernel. */

/** A point in time that keeps its nanoseconds. Values are never changed, so one may be shared by many attributes. */
export interface Timestamp {
  /** Whole seconds since 1970; negative before. */
  readonly seconds: number
  /** 0 to 999,999,999. */
  readonly nanoseconds: number
}

/** struct fuse_attr without `rdev` and `flags`, which are zero. */
export interface Attr {
  readonly ino: number
  /** Bytes. */
  readonly size: number
  /** Units of 512 bytes. */
  readonly blocks: number
  readonly atime: Timestamp
  readonly mtime: Timestamp
  readonly ctime: Timestamp
  /** File type and permissions, as in stat(2). */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  /** The preferred size of an I/O in bytes, as stat(2) shows it. */
  readonly blksize: number
}

/**
 * The answer to a name: its inode, and for how long (fractions allowed) the kernel may believe it without asking.
 * Each such answer with a node id other than 0 counts as one lookup, until `forget` takes it back.
 * The generation is always 0, so a node id must not be used again for another file in the life of the mount.
 */
export interface EntryReply {
  /** 0: there is no such name, and the kernel may believe that for `entryValidSeconds`; see negativeEntry. */
  readonly nodeid: number
  readonly entryValidSeconds: number
  readonly attrValidSeconds: number
  readonly attr: Attr
}

export interface AttrReply {
  readonly attrValidSeconds: number
  readonly attr: Attr
}

export interface OpenReply {
  readonly fh: number
  /** FOPEN_* of abi.ts. */
  readonly openFlags: number
}

/** Of an operation on a name that also opens it. */
export interface CreateReply extends EntryReply, OpenReply {}

/** struct fuse_kstatfs, as in statfs(2). */
export interface StatfsReply {
  readonly blocks: number
  readonly bfree: number
  readonly bavail: number
  readonly files: number
  readonly ffree: number
  readonly bsize: number
  readonly namelen: number
  /** The unit of the three counts of blocks, in bytes. */
  readonly frsize: number
}

export interface DirectoryEntry {
  readonly name: string
  readonly ino: number
  /** The file's mode; only its type is told to the kernel. */
  readonly mode: number
  /** Where to go on after this entry: what `readdir` gets as its offset. Never 0. */
  readonly offset: number
}

/** Only what the kernel asks to change is present. */
export interface SetattrChanges {
  fh?: number
  mode?: number
  uid?: number
  gid?: number
  size?: number
  atime?: Timestamp | 'now'
  mtime?: Timestamp | 'now'
  ctime?: Timestamp
}

/** An fcntl(2) lock of the bytes `start` to `end`, both included; `end` is Infinity up to the end of the file. */
export interface FileLock {
  readonly type: 'read' | 'write' | 'unlock'
  readonly start: number
  readonly end: number
  /** The process, 0 when it is not known. */
  readonly pid: number
}

/** Who asks. Made anew for each request, so it may be kept. */
export interface Context {
  /** A thread id in the pid namespace of the daemon; 0 when the caller has none there. */
  readonly pid: number
  readonly uid: number
  readonly gid: number
  /**
   * Aborted when the caller got a signal while it waits for a promise. The operation should then end soon, with
   * EINTR when it did nothing. Made on first use: a handler that does not look at it pays nothing.
   */
  readonly signal: AbortSignal
}

export type Answer<T> = T | Promise<T>

/**
 * A handler returns its answer or a promise of it, or throws: FuseError and system errors answer with their errno,
 * anything else with EIO. While a handler runs nothing else does, and the kernel's next request is not read.
 *
 * Buffers (`data` of write, `into` of read) are valid until the handler returns: one that answers later copies first.
 * Names are one path component: never empty, `.` or `..`, and without `/`; at most 1023 bytes.
 */
export interface FileSystem {
  lookup(parent: number, name: string, context: Context): Answer<EntryReply>
  /** The kernel drops `nlookup` of the lookups it was told of; at 0 the node id is gone. Must not throw. */
  forget(nodeid: number, nlookup: number): void
  /** `fh` when the kernel asks about an open file (fstat). */
  getattr(nodeid: number, fh: number | undefined, context: Context): Answer<AttrReply>
  /** O_TRUNC of open(2) arrives here, as size 0 without `fh`, once `open` has answered. */
  setattr(nodeid: number, changes: SetattrChanges, context: Context): Answer<AttrReply>
  readlink(nodeid: number, context: Context): Answer<string>
  symlink(parent: number, name: string, target: string, context: Context): Answer<EntryReply>
  mknod(parent: number, name: string, mode: number, rdev: number, context: Context): Answer<EntryReply>
  mkdir(parent: number, name: string, mode: number, context: Context): Answer<EntryReply>
  unlink(parent: number, name: string, context: Context): Answer<void>
  rmdir(parent: number, name: string, context: Context): Answer<void>
  /** `flags` of renameat2(2): RENAME_NOREPLACE 1, RENAME_EXCHANGE 2. */
  rename(
    parent: number,
    name: string,
    newParent: number,
    newName: string,
    flags: number,
    context: Context,
  ): Answer<void>
  link(nodeid: number, newParent: number, newName: string, context: Context): Answer<EntryReply>
  /** `flags` of open(2), without O_CREAT, O_EXCL, O_NOCTTY and O_TRUNC. */
  open(nodeid: number, flags: number, context: Context): Answer<OpenReply>
  /** The umask is already taken off `mode`. */
  create(parent: number, name: string, mode: number, flags: number, context: Context): Answer<CreateReply>
  /**
   * Puts at most `size` bytes into `into` (of just that length) and returns their number; fewer is the end of the file.
   * Answering later, it resolves to the bytes, which the session copies.
   */
  read(
    nodeid: number,
    fh: number,
    offset: number,
    size: number,
    into: Uint8Array,
    context: Context,
  ): number | Promise<Uint8Array>
  /** Returns the number of bytes written. */
  write(nodeid: number, fh: number, offset: number, data: Uint8Array, context: Context): Answer<number>
  statfs(nodeid: number, context: Context): Answer<StatfsReply>
  /** The last close; nobody waits for it, and an error reaches nobody. `flags` as in open. */
  release(nodeid: number, fh: number, flags: number, context: Context): Answer<void>
  fsync(nodeid: number, fh: number, dataOnly: boolean, context: Context): Answer<void>
  /**
   * Each close(2) of a descriptor. Without this method the kernel is told once that there is none, and asks no more.
   * Process-owned locks of `owner` end here, so a file system with `setlk` needs it.
   */
  flush?(nodeid: number, fh: number, owner: bigint, context: Context): Answer<void>
  opendir(nodeid: number, flags: number, context: Context): Answer<OpenReply>
  /**
   * The entries that follow `offset` (0: from the start); as many as fit are taken, so an iterable made lazily is
   * not read to its end. The kernel adds no `.` and `..`.
   */
  readdir(nodeid: number, fh: number, offset: number, context: Context): Answer<Iterable<DirectoryEntry>>
  releasedir(nodeid: number, fh: number, context: Context): Answer<void>
  fsyncdir(nodeid: number, fh: number, dataOnly: boolean, context: Context): Answer<void>
  /** The lock that stands in the way of `lock`, or one of type 'unlock' when none does. Only with `forwardLocks`. */
  getlk?(nodeid: number, fh: number, owner: bigint, lock: FileLock, context: Context): Answer<FileLock>
  /**
   * Takes or frees a lock for `owner`; EAGAIN when another owner has it, or with `wait` a promise, which ends with
   * EINTR when `context.signal` is aborted. Closing frees locks without a call: those that a process owns (F_SETLK) in
   * `flush` with their owner, those of an open file description (F_OFD_SETLK) in `release` with their `fh`.
   */
  setlk?(nodeid: number, fh: number, owner: bigint, lock: FileLock, wait: boolean, context: Context): Answer<void>
  /** The kernel says goodbye (it does so only for some kinds of mount; the end of the device always tells). */
  destroy(): void
}

const NEVER: Timestamp = { seconds: 0, nanoseconds: 0 }
const NO_ATTR: Attr = {
  ino: 0,
  size: 0,
  blocks: 0,
  atime: NEVER,
  mtime: NEVER,
  ctime: NEVER,
  mode: 0,
  nlink: 0,
  uid: 0,
  gid: 0,
  blksize: 0,
}

/** The answer "no such name" that the kernel remembers for `validSeconds`. */
export function negativeEntry(validSeconds: number): EntryReply {
  return { nodeid: 0, entryValidSeconds: validSeconds, attrValidSeconds: 0, attr: NO_ATTR }
}

/** From milliseconds since 1970 as Node's Stats has them (`mtimeMs`, with a fraction): exact to about 250 ns. */
export function timestampFromMs(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000)
  return { seconds, nanoseconds: Math.min(999_999_999, Math.round((ms - seconds * 1000) * 1_000_000)) }
}
