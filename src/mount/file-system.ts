import fs from 'node:fs'
import { constants } from 'node:os'
import { FuseError } from '../fuse/errno.js'
import {
  type Attr,
  type AttrReply,
  type Context,
  type CreateReply,
  type DirectoryEntry,
  type EntryReply,
  type FileSystem,
  negativeEntry,
  type OpenReply,
  type SetattrChanges,
  type StatfsReply,
  timestampFromMs,
} from '../fuse/file-system.js'
import type { Store } from '../store/store.js'
import { DatabaseFile } from './database-file.js'
import { RootDirectory } from './directory.js'
import { type Inode, Inodes } from './inodes.js'
import { BLOCK_SIZE, CACHED_SECONDS, type MountFile, NEVER_CACHED, type Owner, S_IFDIR } from './mount-file.js'

const { EACCES, EBADF, EISDIR, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM } = constants.errno

/** The longest name that the data directory's file system takes, bytes. */
const NAME_MAX = 255
/** Bytes of the longest suffix that is put on a database's name. */
const LONGEST_SUFFIX = 8

/** The file system that applications see, over the databases of the store. Runs on the file-system thread only. */
export class LiteFileSystem implements FileSystem {
  readonly #store: Store
  readonly #dataDir: string
  readonly #owner: Owner
  readonly #root: RootDirectory
  readonly #inodes = new Inodes()
  readonly #startedMs = Date.now()
  /** File handles that were written through. */
  readonly #written = new Set<number>()
  #lastHandle = 0
  #hiddenWriters = false

  constructor(store: Store, dataDir: string, owner: Owner) {
    this.#store = store
    this.#dataDir = dataDir
    this.#owner = owner
    this.#root = new RootDirectory(store, owner)
  }

  /** Whether somebody who has written is in another pid namespace, so that the kernel does not show us his locks. */
  get hasHiddenWriters(): boolean {
    return this.#hiddenWriters
  }

  /** The inode number of a name in the root directory, if the kernel knows it. */
  knownInode(name: string): number | undefined {
    return this.#inodes.root.children.get(name)?.id
  }

  lookup(parent: number, name: string): EntryReply {
    const directory = this.#directory(parent)
    const known = directory.children.get(name)
    if (known?.file instanceof DatabaseFile) return this.#entry(known, CACHED_SECONDS)
    if (Buffer.byteLength(name) > NAME_MAX) throw new FuseError(constants.errno.ENAMETOOLONG)
    const { file, cached } = this.#root.find(name)
    const seconds = cached ? CACHED_SECONDS : NEVER_CACHED
    if (file !== undefined) return this.#entry(known ?? this.#inodes.add(directory, name, file), seconds)
    if (known !== undefined) this.#inodes.unlink(known)
    return negativeEntry(seconds)
  }

  forget(nodeid: number, nlookup: number): void {
    this.#inodes.forget(nodeid, nlookup)
  }

  getattr(nodeid: number): AttrReply {
    const inode = this.#inode(nodeid)
    return { attrValidSeconds: inode.file?.attrValidSeconds ?? NEVER_CACHED, attr: this.#attr(inode) }
  }

  /** Modes and owners are the mount's own, as in LiteFS: a change of them is taken and has no effect. */
  setattr(nodeid: number, changes: SetattrChanges): AttrReply {
    const inode = this.#inode(nodeid)
    const { file } = inode
    if (file === undefined && changes.size !== undefined) throw new FuseError(EISDIR)
    if (file !== undefined) {
      if (changes.size !== undefined) file.truncate(changes.size)
      if (changes.atime !== undefined || changes.mtime !== undefined) file.setTimes(changes.atime, changes.mtime)
    }
    return this.getattr(nodeid)
  }

  readlink(): string {
    throw new FuseError(constants.errno.EINVAL)
  }

  symlink(): EntryReply {
    throw new FuseError(EPERM)
  }

  mknod(): EntryReply {
    throw new FuseError(EPERM)
  }

  mkdir(): EntryReply {
    throw new FuseError(EOPNOTSUPP)
  }

  unlink(parent: number, name: string): void {
    const directory = this.#directory(parent)
    const known = directory.children.get(name)
    const file = known?.file ?? this.#root.find(name).file
    if (file === undefined) throw new FuseError(ENOENT)
    if (!(file instanceof DatabaseFile)) throw new FuseError(EACCES)
    file.database.remove(file.kind)
    if (known !== undefined) this.#inodes.unlink(known)
    this.#store.discardIfEmpty(file.database)
  }

  rmdir(): void {
    throw new FuseError(ENOTDIR)
  }

  rename(): void {
    throw new FuseError(EOPNOTSUPP)
  }

  link(): EntryReply {
    throw new FuseError(EPERM)
  }

  open(nodeid: number, flags: number): OpenReply {
    const inode = this.#inode(nodeid)
    return { fh: ++this.#lastHandle, openFlags: this.#file(inode).open(flags, inode.linked) }
  }

  create(parent: number, name: string): CreateReply {
    const directory = this.#directory(parent)
    if (Buffer.byteLength(name) > NAME_MAX - LONGEST_SUFFIX) throw new FuseError(constants.errno.ENAMETOOLONG)
    const known = directory.children.get(name)
    const file = known?.file ?? this.#root.make(name)
    if (!(file instanceof DatabaseFile)) throw new FuseError(EACCES)
    const openFlags = this.#create(file)
    const inode = known ?? this.#inodes.add(directory, name, file)
    return { ...this.#entry(inode, CACHED_SECONDS), fh: ++this.#lastHandle, openFlags }
  }

  read(
    nodeid: number,
    _fh: number,
    offset: number,
    size: number,
    into: Uint8Array,
    context: Context,
  ): number | Promise<Uint8Array> {
    return this.#file(this.#inode(nodeid)).read(into, size, offset, context)
  }

  write(nodeid: number, fh: number, offset: number, data: Uint8Array, context: Context): number {
    const file = this.#file(this.#inode(nodeid))
    this.#written.add(fh)
    // The kernel itself writes too, as process 0: what is mapped, which a database never is.
    if (context.pid === 0 && file instanceof DatabaseFile && file.kind === 'database') this.#hiddenWriters = true
    file.write(data, offset)
    return data.length
  }

  statfs(): StatfsReply {
    const { bsize, blocks, bfree, bavail, files, ffree } = fs.statfsSync(this.#dataDir)
    return { blocks, bfree, bavail, files, ffree, bsize, frsize: bsize, namelen: NAME_MAX - LONGEST_SUFFIX }
  }

  release(nodeid: number, fh: number): void {
    const file = this.#file(this.#inode(nodeid))
    const written = this.#written.delete(fh)
    file.close()
    if (written && file instanceof DatabaseFile && file.kind === 'database') this.#store.writerClosed(file.database)
  }

  fsync(nodeid: number): void {
    this.#file(this.#inode(nodeid)).sync()
  }

  opendir(nodeid: number): OpenReply {
    this.#directory(nodeid)
    return { fh: nodeid, openFlags: 0 }
  }

  *readdir(nodeid: number, _fh: number, offset: number): Generator<DirectoryEntry> {
    const directory = this.#directory(nodeid)
    let position = 0
    for (const name of this.#root.names()) {
      position++
      if (position <= offset) continue
      // A name that the kernel has not looked up has no inode number yet; any number that is not 0 will do.
      yield { name, ino: directory.children.get(name)?.id ?? Number.MAX_SAFE_INTEGER, mode: 0o100666, offset: position }
    }
  }

  releasedir(): void {}

  fsyncdir(): void {
    for (const database of this.#store.all()) database.files.syncNames()
  }

  destroy(): void {}

  /** A name that could not be created leaves nothing behind. */
  #create(file: DatabaseFile): number {
    try {
      return file.create()
    } catch (error) {
      this.#store.discardIfEmpty(file.database)
      throw error
    }
  }

  #inode(nodeid: number): Inode {
    const inode = this.#inodes.get(nodeid)
    if (inode === undefined) throw new FuseError(ENOENT)
    return inode
  }

  #directory(nodeid: number): Inode {
    const inode = this.#inode(nodeid)
    if (inode.file !== undefined) throw new FuseError(ENOTDIR)
    return inode
  }

  #file(inode: Inode): MountFile {
    if (inode.file === undefined) throw new FuseError(EBADF)
    return inode.file
  }

  #entry(inode: Inode, entryValidSeconds: number): EntryReply {
    const attr = this.#attr(inode)
    inode.lookups++
    return {
      nodeid: inode.id,
      entryValidSeconds,
      attrValidSeconds: inode.file?.attrValidSeconds ?? NEVER_CACHED,
      attr,
    }
  }

  #attr(inode: Inode): Attr {
    if (inode.file !== undefined) return { ino: inode.id, ...inode.file.attributes(inode.linked) }
    const time = timestampFromMs(this.#startedMs)
    const { uid, gid } = this.#owner
    const mode = S_IFDIR | 0o777
    return {
      ino: inode.id,
      size: 0,
      blocks: 0,
      atime: time,
      mtime: time,
      ctime: time,
      mode,
      nlink: 2,
      uid,
      gid,
      blksize: BLOCK_SIZE,
    }
  }
}
