// A small FileSystem in memory: one directory tree, cached for an hour as litefs caches, with counts of what was asked.
import { constants } from 'node:os'
import { FOPEN_KEEP_CACHE, FUSE_ROOT_ID } from '../../src/fuse/abi.js'
import { FuseError } from '../../src/fuse/errno.js'
import {
  type Attr,
  type AttrReply,
  type Context,
  type CreateReply,
  type DirectoryEntry,
  type EntryReply,
  type FileLock,
  type FileSystem,
  negativeEntry,
  type OpenReply,
  type SetattrChanges,
  type StatfsReply,
  type Timestamp,
  timestampFromMs,
} from '../../src/fuse/file-system.js'

const { EAGAIN, EEXIST, EINTR, EINVAL, ENOENT, ENOTEMPTY } = constants.errno
const VALID_SECONDS = 3600
const [S_IFMT, S_IFDIR, S_IFREG, S_IFLNK] = [0o170000, 0o040000, 0o100000, 0o120000]

interface Node {
  ino: number
  mode: number
  uid: number
  gid: number
  nlink: number
  content: Buffer
  children: Map<string, Node>
  atime: Timestamp
  mtime: Timestamp
  lookups: number
}

interface HeldLock {
  fh: number
  owner: bigint
  lock: FileLock
}

export class MemoryFileSystem implements FileSystem {
  readonly counts: Record<string, number> = {}
  largestWrite = 0
  readonly #nodes = new Map<number, Node>()
  #locks: HeldLock[] = []
  #waiting: (() => void)[] = []
  #nextIno = FUSE_ROOT_ID
  #nextFh = 1

  constructor() {
    this.#make(S_IFDIR | 0o755, { pid: 0, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 })
  }

  /** How many node ids the kernel still knows, the root aside. */
  get known(): number {
    return [...this.#nodes.values()].filter((node) => node.lookups > 0).length
  }

  lookup(parent: number, name: string): EntryReply {
    this.#count('lookup')
    const node = this.#node(parent).children.get(name)
    return node === undefined ? negativeEntry(VALID_SECONDS) : this.#entry(node)
  }

  forget(nodeid: number, nlookup: number): void {
    this.#count('forget')
    this.#node(nodeid).lookups -= nlookup
  }

  getattr(nodeid: number): AttrReply {
    this.#count('getattr')
    return { attrValidSeconds: VALID_SECONDS, attr: this.#attr(this.#node(nodeid)) }
  }

  setattr(nodeid: number, changes: SetattrChanges): AttrReply {
    this.#count('setattr')
    const node = this.#node(nodeid)
    const now = timestampFromMs(Date.now())
    if (changes.mode !== undefined) node.mode = (node.mode & S_IFMT) | (changes.mode & ~S_IFMT)
    if (changes.uid !== undefined) node.uid = changes.uid
    if (changes.gid !== undefined) node.gid = changes.gid
    if (changes.size !== undefined) this.#resize(node, changes.size)
    if (changes.atime !== undefined) node.atime = changes.atime === 'now' ? now : changes.atime
    if (changes.mtime !== undefined) node.mtime = changes.mtime === 'now' ? now : changes.mtime
    return { attrValidSeconds: VALID_SECONDS, attr: this.#attr(node) }
  }

  readlink(nodeid: number): string {
    return this.#node(nodeid).content.toString()
  }

  symlink(parent: number, name: string, target: string, context: Context): EntryReply {
    const node = this.#add(parent, name, S_IFLNK | 0o777, context)
    node.content = Buffer.from(target)
    return this.#entry(node)
  }

  mknod(parent: number, name: string, mode: number, _rdev: number, context: Context): EntryReply {
    return this.#entry(this.#add(parent, name, mode, context))
  }

  mkdir(parent: number, name: string, mode: number, context: Context): EntryReply {
    return this.#entry(this.#add(parent, name, S_IFDIR | mode, context))
  }

  unlink(parent: number, name: string): void {
    this.#child(parent, name).nlink--
    this.#node(parent).children.delete(name)
  }

  rmdir(parent: number, name: string): void {
    if (this.#child(parent, name).children.size > 0) throw new FuseError(ENOTEMPTY)
    this.#node(parent).children.delete(name)
  }

  rename(parent: number, name: string, newParent: number, newName: string, flags: number): void {
    const node = this.#child(parent, name)
    if (flags > 1) throw new FuseError(EINVAL)
    if (flags === 1 && this.#node(newParent).children.has(newName)) throw new FuseError(EEXIST)
    this.#node(parent).children.delete(name)
    this.#node(newParent).children.set(newName, node)
  }

  link(nodeid: number, newParent: number, newName: string): EntryReply {
    const node = this.#node(nodeid)
    node.nlink++
    this.#node(newParent).children.set(newName, node)
    return this.#entry(node)
  }

  open(): OpenReply {
    this.#count('open')
    return { fh: this.#nextFh++, openFlags: FOPEN_KEEP_CACHE }
  }

  create(parent: number, name: string, mode: number, _flags: number, context: Context): CreateReply {
    this.#count('create')
    const node = this.#add(parent, name, S_IFREG | mode, context)
    return { ...this.#entry(node), fh: this.#nextFh++, openFlags: FOPEN_KEEP_CACHE }
  }

  /** A file called slow is read later, so that both ways are used. */
  read(nodeid: number, _fh: number, offset: number, size: number, into: Uint8Array): number | Promise<Uint8Array> {
    this.#count('read')
    const node = this.#node(nodeid)
    if (node === this.#node(FUSE_ROOT_ID).children.get('slow')) {
      const bytes = node.content.subarray(offset, offset + size)
      return new Promise((resolve) => setImmediate(resolve, bytes))
    }
    return node.content.copy(into, 0, offset, offset + size)
  }

  write(nodeid: number, _fh: number, offset: number, data: Uint8Array): number {
    this.#count('write')
    this.largestWrite = Math.max(this.largestWrite, data.length)
    const node = this.#node(nodeid)
    if (node.content.length < offset + data.length) this.#resize(node, offset + data.length)
    node.content.set(data, offset)
    return data.length
  }

  statfs(): StatfsReply {
    return { blocks: 1000, bfree: 600, bavail: 500, files: 100, ffree: 50, bsize: 4096, namelen: 255, frsize: 4096 }
  }

  release(_nodeid: number, fh: number): void {
    this.#count('release')
    this.#unlockWhere((held) => held.fh === fh)
  }

  fsync(): void {
    this.#count('fsync')
  }

  flush(_nodeid: number, _fh: number, owner: bigint): void {
    this.#count('flush')
    this.#unlockWhere((held) => held.owner === owner)
  }

  opendir(): OpenReply {
    return { fh: 0, openFlags: 0 }
  }

  *readdir(nodeid: number, _fh: number, offset: number): Generator<DirectoryEntry> {
    this.#count('readdir')
    const entries = [...this.#node(nodeid).children]
    for (let index = offset; index < entries.length; index++) {
      const [name, node] = entries[index] ?? ['', this.#node(nodeid)]
      yield { name, ino: node.ino, mode: node.mode, offset: index + 1 }
    }
  }

  releasedir(): void {}

  fsyncdir(): void {}

  getlk(_nodeid: number, _fh: number, owner: bigint, lock: FileLock): FileLock {
    return this.#conflict(owner, lock)?.lock ?? { ...lock, type: 'unlock' }
  }

  setlk(nodeid: number, fh: number, owner: bigint, lock: FileLock, wait: boolean, context: Context) {
    this.#count(wait ? 'setlkw' : 'setlk')
    if (lock.type === 'unlock') return this.#unlockWhere((held) => held.owner === owner)
    if (this.#conflict(owner, lock) === undefined) {
      this.#locks.push({ fh, owner, lock })
      return
    }
    if (!wait) throw new FuseError(EAGAIN)
    return this.#waitForLock(nodeid, fh, owner, lock, context)
  }

  destroy(): void {}

  async #waitForLock(nodeid: number, fh: number, owner: bigint, lock: FileLock, context: Context): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      context.signal.addEventListener('abort', () => {
        this.#count('interrupted')
        reject(new FuseError(EINTR))
      })
      this.#waiting.push(resolve)
    })
    return this.setlk(nodeid, fh, owner, lock, true, context)
  }

  #conflict(owner: bigint, lock: FileLock): HeldLock | undefined {
    return this.#locks.find(
      (held) =>
        held.owner !== owner &&
        (held.lock.type === 'write' || lock.type === 'write') &&
        held.lock.start <= lock.end &&
        lock.start <= held.lock.end,
    )
  }

  #unlockWhere(goes: (held: HeldLock) => boolean): void {
    this.#locks = this.#locks.filter((held) => !goes(held))
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  #count(name: string): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1
  }

  #node(nodeid: number): Node {
    const node = this.#nodes.get(nodeid)
    if (node === undefined) throw new Error(`Cannot find node ${nodeid}`)
    return node
  }

  #child(parent: number, name: string): Node {
    const node = this.#node(parent).children.get(name)
    if (node === undefined) throw new FuseError(ENOENT)
    return node
  }

  #add(parent: number, name: string, mode: number, context: Pick<Context, 'pid' | 'uid' | 'gid'>): Node {
    const { children } = this.#node(parent)
    if (children.has(name)) throw new FuseError(EEXIST)
    const node = this.#make(mode, context)
    children.set(name, node)
    return node
  }

  #make(mode: number, { uid, gid }: Pick<Context, 'pid' | 'uid' | 'gid'>): Node {
    const now = timestampFromMs(Date.now())
    const ino = this.#nextIno++
    const kept = { content: Buffer.alloc(0), children: new Map(), lookups: 0 }
    const node = { ino, mode, uid, gid, nlink: 1, atime: now, mtime: now, ...kept }
    this.#nodes.set(ino, node)
    return node
  }

  #resize(node: Node, size: number): void {
    const content = Buffer.alloc(size)
    node.content.copy(content)
    node.content = content
  }

  #entry(node: Node): EntryReply {
    node.lookups++
    const attr = this.#attr(node)
    return { nodeid: node.ino, entryValidSeconds: VALID_SECONDS, attrValidSeconds: VALID_SECONDS, attr }
  }

  #attr({ ino, mode, nlink, uid, gid, content, atime, mtime }: Node): Attr {
    const size = content.length
    return {
      ino,
      size,
      blocks: Math.ceil(size / 512),
      atime,
      mtime,
      ctime: mtime,
      mode,
      nlink,
      uid,
      gid,
      blksize: 4096,
    }
  }
}
