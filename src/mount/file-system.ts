import fs from 'node:fs'
import { constants } from 'node:os'
import { FuseError } from '../fuse/errno.js'
import {
  type Answer,
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
} from '../fuse/file-system.js'
import type { Ownership } from '../store/local-files.js'
import type { Store } from '../store/store.js'
import type { Access } from './access.js'
import { DatabaseFile } from './database-file.js'
import { DatabaseOwners } from './database-owners.js'
import { decided } from './decided.js'
import { Directory, SymbolicLink } from './directory.js'
import { FileKinds, isStored } from './file-kinds.js'
import type { Following } from './following.js'
import { type Inode, Inodes, pathOf } from './inodes.js'
import { LockLink, type OpenLocks } from './lock-file.js'
import { CACHED_SECONDS, NEVER_CACHED, type Owner, PERMISSIONS, S_IFMT, S_IFREG } from './mount-file.js'
import { DATABASE_NAME_MAX, joinName, NAME_MAX } from './names.js'
import { type Listed, Namespace } from './namespace.js'
import { PlainFile } from './plain-file.js'
import { Rename } from './rename.js'
import { Writers } from './writers.js'

const { EACCES, EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM } = constants.errno

/** A directory's files get its group, and its directories this bit too (S_ISGID). */
const SET_GROUP = 0o2000

/** The file system that applications see, over the databases of the store. Runs on the file-system thread only. */
export class LiteFileSystem implements FileSystem {
  readonly #store: Store
  readonly #dataDir: string
  readonly #access: Access
  readonly writers = new Writers()
  #lastHandle = 0
  readonly #owners: DatabaseOwners
  readonly #namespace: Namespace
  readonly #kinds: FileKinds
  readonly #inodes: Inodes
  readonly #rename: Rename
  /** What directories that are being read list, by file handle: entries that come and go meanwhile move no others. */
  readonly #listings = new Map<number, readonly Listed[]>()

  constructor(store: Store, dataDir: string, owner: Owner, access: Access, following: Following, openLocks: OpenLocks) {
    this.#store = store
    this.#dataDir = dataDir
    this.#access = access
    this.#owners = new DatabaseOwners(owner)
    this.#namespace = new Namespace(store, owner, this.#owners, following, openLocks)
    this.#kinds = new FileKinds(store, this.#owners)
    this.#inodes = new Inodes(new Directory(store.local, ''))
    const parts = { inodes: this.#inodes, namespace: this.#namespace, kinds: this.#kinds, owners: this.#owners }
    this.#rename = new Rename({ store, ...parts })
  }

  /** The inode number of a path in the mount, if the kernel knows it. */
  knownInode(name: string): number | undefined {
    return this.#inodes.find(name)?.id
  }

  lookup(parent: number, name: string): EntryReply {
    const directory = this.#directory(parent)
    const known = directory.children.get(name)
    if (known !== undefined && isStored(known.file)) {
      return this.#entry(known, CACHED_SECONDS)
    }
    if (Buffer.byteLength(name) > NAME_MAX) throw new FuseError(ENAMETOOLONG)
    const { file, cached } = this.#namespace.find(joinName(pathOf(directory), name))
    const seconds = cached || (file !== undefined && isStored(file)) ? CACHED_SECONDS : NEVER_CACHED
    if (known !== undefined && file?.constructor !== known.file.constructor) this.#inodes.unlink(known)
    if (file === undefined) return negativeEntry(seconds)
    return this.#entry(directory.children.get(name) ?? this.#inodes.add(directory, name, file), seconds)
  }

  forget(nodeid: number, nlookup: number): void {
    this.#inodes.forget(nodeid, nlookup)
  }

  getattr(nodeid: number): AttrReply {
    const inode = this.#inode(nodeid)
    return { attrValidSeconds: inode.file.attrValidSeconds, attr: this.#attr(inode) }
  }

  setattr(nodeid: number, changes: SetattrChanges, context: Context): Answer<AttrReply> {
    const { size, ...others } = changes
    const { mode, uid, gid, atime, mtime } = others
    const inode = this.#inode(nodeid)
    const { file } = inode
    if (size !== undefined) {
      this.#access.check(file, context, { size })
      const later = decided(file, () => file.truncate(size))?.then(() => this.setattr(nodeid, others, context))
      if (later) return later
    }
    if (inode.linked && (mode !== undefined || uid !== undefined || gid !== undefined)) {
      file.setOwnership({ mode: mode === undefined ? undefined : mode & PERMISSIONS, uid, gid })
    }
    if (atime !== undefined || mtime !== undefined) file.setTimes(atime, mtime)
    return this.getattr(nodeid)
  }

  readlink(nodeid: number): Answer<string> {
    const { file } = this.#inode(nodeid)
    if (!(file instanceof SymbolicLink || file instanceof LockLink)) throw new FuseError(EINVAL)
    return file.target
  }

  symlink(parent: number, name: string, target: string, context: Context): EntryReply {
    const directory = this.#directory(parent)
    const path = this.#newPath(directory, name)
    this.#store.local.makeLink(path, target, this.#ownership(directory, 0o777, context))
    return this.#entry(this.#inodes.add(directory, name, new SymbolicLink(this.#store.local, path)), CACHED_SECONDS)
  }

  /** Regular files only: a pipe or socket would be this node's, and a device is nothing that a mount with nodev has. */
  mknod(parent: number, name: string, mode: number, _rdev: number, context: Context): EntryReply {
    if ((mode & S_IFMT) !== S_IFREG) throw new FuseError(EPERM)
    const { fh, openFlags, ...entry } = this.#createNow(parent, name, mode, 0, context)
    this.release(entry.nodeid, fh)
    return entry
  }

  mkdir(parent: number, name: string, mode: number, context: Context): EntryReply {
    const directory = this.#directory(parent)
    const path = this.#newPath(directory, name)
    const { local } = this.#store
    const ownership = this.#ownership(directory, mode, context)
    const inherited = this.#attr(directory).mode & SET_GROUP
    local.makeDirectory(path, { ...ownership, mode: ownership.mode | inherited })
    return this.#entry(this.#inodes.add(directory, name, new Directory(local, path)), CACHED_SECONDS)
  }

  unlink(parent: number, name: string, context: Context): Answer<void> {
    const directory = this.#directory(parent)
    const known = directory.children.get(name)
    const path = joinName(pathOf(directory), name)
    const file = known?.file ?? this.#namespace.find(path).file
    if (file === undefined) throw new FuseError(ENOENT)
    if (file instanceof Directory) throw new FuseError(EISDIR)
    this.#access.check(file, context, 'remove')
    return decided(file, () => {
      if (file instanceof DatabaseFile) this.#removeDatabaseFile(file)
      else if (file instanceof PlainFile || file instanceof SymbolicLink) this.#store.local.remove(path)
      else throw new FuseError(EACCES)
      if (known !== undefined) this.#inodes.unlink(known)
    })
  }

  rmdir(parent: number, name: string): void {
    const directory = this.#directory(parent)
    const known = directory.children.get(name)
    const path = joinName(pathOf(directory), name)
    const file = known?.file ?? this.#namespace.find(path).file
    if (file === undefined) throw new FuseError(ENOENT)
    if (!(file instanceof Directory)) throw new FuseError(ENOTDIR)
    if (!this.#namespace.isEmpty(path)) throw new FuseError(ENOTEMPTY)
    this.#store.local.removeDirectory(path)
    this.#store.prune(path)
    if (known !== undefined) this.#inodes.unlink(known)
  }

  rename(parent: number, name: string, newParent: number, newName: string, flags: number, context: Context): void {
    const directory = this.#directory(parent)
    const target = this.#directory(newParent)
    if (Buffer.byteLength(newName) > NAME_MAX) throw new FuseError(ENAMETOOLONG)
    const source = directory.children.get(name)
    if (source === undefined) throw new FuseError(ENOENT)
    const replaced = target.children.get(newName)
    for (const { file } of replaced === undefined ? [source] : [source, replaced])
      this.#access.check(file, context, 'rename')
    if (source.file instanceof DatabaseFile) this.#checkLength(newName)
    this.#rename.run(source, target, newName, flags)
  }

  /** Two names of one database would have two journals. */
  link(): EntryReply {
    throw new FuseError(EPERM)
  }

  open(nodeid: number, flags: number): Answer<OpenReply> {
    const inode = this.#inode(nodeid)
    const shut = inode.file instanceof DatabaseFile ? inode.file.database.files.shut : undefined
    if (shut !== undefined) return shut.then(() => this.open(nodeid, flags))
    this.#kinds.beforeOpen(inode, flags)
    return { fh: ++this.#lastHandle, openFlags: inode.file.open(flags, inode.linked) }
  }

  create(parent: number, name: string, mode: number, flags: number, context: Context): Answer<CreateReply> {
    const shut = this.#store.get(joinName(pathOf(this.#directory(parent)), name))?.files.shut
    if (shut !== undefined) return shut.then(() => this.create(parent, name, mode, flags, context))
    return this.#createNow(parent, name, mode, flags, context)
  }

  #createNow(parent: number, name: string, mode: number, flags: number, context: Context): CreateReply {
    const directory = this.#directory(parent)
    const known = directory.children.get(name)
    this.#checkLength(name)
    if (known !== undefined) this.#kinds.beforeOpen(known, flags)
    const file = known?.file ?? this.#namespace.make(joinName(pathOf(directory), name))
    if (!(file instanceof DatabaseFile || file instanceof PlainFile)) throw new FuseError(EACCES)
    const openFlags = this.#create(file, this.#ownership(directory, mode, context), context)
    const inode = known ?? this.#inodes.add(directory, name, file)
    return { ...this.#entry(inode, CACHED_SECONDS), fh: ++this.#lastHandle, openFlags }
  }

  read(nodeid: number, _fh: number, offset: number, size: number, into: Uint8Array, context: Context) {
    return this.#inode(nodeid).file.read(into, size, offset, context)
  }

  write(nodeid: number, fh: number, offset: number, data: Uint8Array, context: Context): Answer<number> {
    const inode = this.#inode(nodeid)
    this.#kinds.beforeWrite(inode, data, offset)
    const { file } = inode
    this.#access.check(file, context)
    const work = () => decided(file, (copy) => file.write(copy ?? data, offset), data)
    return this.writers.write(file, fh, context.pid, work)?.then(() => data.length) ?? data.length
  }

  statfs(): StatfsReply {
    const { bsize, blocks, bfree, bavail, files, ffree } = fs.statfsSync(this.#dataDir)
    return { blocks, bfree, bavail, files, ffree, bsize, frsize: bsize, namelen: DATABASE_NAME_MAX }
  }

  release(nodeid: number, fh: number): void {
    const inode = this.#inode(nodeid)
    const { file } = inode
    const written = this.writers.closed(fh)
    file.close()
    if (file instanceof DatabaseFile) this.#store.closedBySomebody(file.database)
    if (written && file instanceof DatabaseFile && file.kind === 'database') this.#store.writerClosed(file.database)
    this.#kinds.decide(inode)
  }

  fsync(nodeid: number): void {
    const inode = this.#inode(nodeid)
    inode.file.sync()
    this.#kinds.decide(inode)
  }

  opendir(nodeid: number): OpenReply {
    this.#directory(nodeid)
    return { fh: ++this.#lastHandle, openFlags: 0 }
  }

  *readdir(nodeid: number, fh: number, offset: number): Generator<DirectoryEntry> {
    const directory = this.#directory(nodeid)
    let listing = offset === 0 ? undefined : this.#listings.get(fh)
    if (listing === undefined) {
      listing = [...this.#namespace.list(pathOf(directory))]
      this.#listings.set(fh, listing)
    }
    for (let index = offset; index < listing.length; index++) {
      const { name, type } = listing[index] ?? { name: '', type: 0 }
      // A name that the kernel has not looked up has no inode number yet; any number that is not 0 will do.
      const inode = name === '.' ? directory : name === '..' ? directory.parent : directory.children.get(name)
      yield { name, ino: inode?.id ?? Number.MAX_SAFE_INTEGER, mode: type, offset: index + 1 }
    }
  }

  releasedir(_nodeid: number, fh: number): void {
    this.#listings.delete(fh)
  }

  fsyncdir(): void {
    this.#store.syncNames()
  }

  destroy(): void {}

  /** A name that could not be created leaves nothing behind. */
  #create(file: DatabaseFile | PlainFile, ownership: Ownership, context: Context): number {
    try {
      this.#access.check(file, context, 'create')
      const openFlags = file.create(ownership)
      if (file instanceof DatabaseFile && file.kind === 'database') this.#store.local.touchParent(file.database.name)
      return openFlags
    } catch (error) {
      if (file instanceof DatabaseFile) this.#store.discardIfEmpty(file.database)
      throw error
    }
  }

  #removeDatabaseFile(file: DatabaseFile): void {
    const { database, kind } = file
    database.remove(kind)
    if (kind === 'database') {
      fs.rmSync(database.layout.attributes, { force: true })
      this.#owners.forget(database)
      this.#store.local.touchParent(database.name)
    }
    this.#store.discardIfEmpty(database)
  }

  /** Who owns what is made now: its maker, and the directory's group where that is so set. */
  #ownership(directory: Inode, mode: number, { uid, gid }: Context): Ownership {
    const parent = this.#attr(directory)
    return { mode: mode & PERMISSIONS, uid, gid: (parent.mode & SET_GROUP) !== 0 ? parent.gid : gid }
  }

  /** The path of a name that must be free. */
  #newPath(directory: Inode, name: string): string {
    if (Buffer.byteLength(name) > NAME_MAX) throw new FuseError(ENAMETOOLONG)
    const path = joinName(pathOf(directory), name)
    if (this.#namespace.isReserved(path)) throw new FuseError(EACCES)
    if (this.#namespace.find(path).file !== undefined) throw new FuseError(EEXIST)
    return path
  }

  /** A file may become a database, and its journal must have a name. */
  #checkLength(name: string): void {
    if (Buffer.byteLength(name) > DATABASE_NAME_MAX) throw new FuseError(ENAMETOOLONG)
  }

  #inode(nodeid: number): Inode {
    const inode = this.#inodes.get(nodeid)
    if (inode === undefined) throw new FuseError(ENOENT)
    return inode
  }

  #directory(nodeid: number): Inode {
    const inode = this.#inode(nodeid)
    if (!(inode.file instanceof Directory)) throw new FuseError(ENOTDIR)
    return inode
  }

  #entry(inode: Inode, entryValidSeconds: number): EntryReply {
    const attr = this.#attr(inode)
    inode.lookups++
    return { nodeid: inode.id, entryValidSeconds, attrValidSeconds: inode.file.attrValidSeconds, attr }
  }

  #attr(inode: Inode): Attr {
    return { ino: inode.id, ...inode.file.attributes(inode.linked) }
  }
}
