import { constants } from 'node:os'
import { FuseError } from '../fuse/errno.js'
import {
  type Attr,
  type AttrReply,
  type Context,
  type DirectoryEntry,
  type EntryReply,
  type FileLock,
  type FileSystem,
  negativeEntry,
  type OpenReply,
  type StatfsReply,
  timestampFromMs,
} from '../fuse/file-system.js'
import type { Store } from '../store/store.js'
import type { HaltLocks } from './halt-locks.js'
import { BLOCK_SIZE, NEVER_CACHED, type Owner, S_IFDIR, S_IFREG } from './mount-file.js'
import { joinName, parseMountName } from './names.js'

const { EACCES, EINVAL, ENOENT, ENOTDIR } = constants.errno

/** The byte of a lock file that is the halt lock of its database, as in LiteFS. */
const HALT_BYTE = 72
const ROOT_ID = 1

interface Node {
  readonly id: number
  /** In the mount; '' for the root. */
  readonly path: string
  /** Undefined for a directory. */
  readonly database: string | undefined
  lookups: number
}

/** The lock files of the databases, empty, in the directories that these are in. Every lock on them is ours to decide. */
export class LockFileSystem implements FileSystem {
  readonly #store: Store
  readonly #owner: Owner
  readonly #locks: HaltLocks
  readonly #nodes = new Map<number, Node>()
  readonly #byPath = new Map<string, Node>()
  #lastId = ROOT_ID
  #lastHandle = 0

  constructor(store: Store, owner: Owner, locks: HaltLocks) {
    this.#store = store
    this.#owner = owner
    this.#locks = locks
    this.#nodes.set(ROOT_ID, { id: ROOT_ID, path: '', database: undefined, lookups: 1 })
  }

  lookup(parent: number, name: string): EntryReply {
    const path = joinName(this.#node(parent).path, name)
    const found = this.#find(path)
    if (found === undefined) return negativeEntry(NEVER_CACHED)
    const known = this.#byPath.get(path)
    const node = known ?? { id: ++this.#lastId, path, database: found.database, lookups: 0 }
    node.lookups++
    this.#nodes.set(node.id, node)
    this.#byPath.set(path, node)
    return { nodeid: node.id, entryValidSeconds: NEVER_CACHED, attrValidSeconds: NEVER_CACHED, attr: this.#attr(node) }
  }

  forget(nodeid: number, nlookup: number): void {
    const node = this.#nodes.get(nodeid)
    if (node === undefined || nodeid === ROOT_ID) return
    node.lookups -= nlookup
    if (node.lookups > 0) return
    this.#nodes.delete(nodeid)
    this.#byPath.delete(node.path)
  }

  getattr(nodeid: number): AttrReply {
    return { attrValidSeconds: NEVER_CACHED, attr: this.#attr(this.#node(nodeid)) }
  }

  /** O_TRUNC and touch(1) change nothing, and are no error. */
  setattr(nodeid: number): AttrReply {
    return this.getattr(nodeid)
  }

  open(nodeid: number): OpenReply {
    this.#node(nodeid)
    return { fh: ++this.#lastHandle, openFlags: 0 }
  }

  read(): number {
    return 0
  }

  write(): never {
    throw new FuseError(EACCES)
  }

  release(_nodeid: number, fh: number): void {
    this.#locks.closed(fh)
  }

  fsync(): void {}

  async flush(_nodeid: number, fh: number, owner: bigint): Promise<void> {
    await this.#locks.unlock(fh, owner)
  }

  opendir(nodeid: number): OpenReply {
    if (this.#node(nodeid).database !== undefined) throw new FuseError(ENOTDIR)
    return { fh: ++this.#lastHandle, openFlags: 0 }
  }

  /** Nothing is listed: what is there can be opened. */
  *readdir(nodeid: number, _fh: number, offset: number): Generator<DirectoryEntry> {
    for (const [index, name] of ['.', '..'].entries())
      if (index >= offset) yield { name, ino: nodeid, mode: S_IFDIR, offset: index + 1 }
  }

  releasedir(): void {}

  fsyncdir(): void {}

  getlk(nodeid: number, _fh: number, owner: bigint, lock: FileLock): FileLock {
    const database = this.#databaseOf(nodeid, lock)
    const isFree = lock.type === 'unlock' || !this.#locks.isHeld(database, owner)
    return isFree ? { ...lock, type: 'unlock' } : { type: 'write', start: HALT_BYTE, end: HALT_BYTE, pid: 0 }
  }

  async setlk(
    nodeid: number,
    fh: number,
    owner: bigint,
    lock: FileLock,
    wait: boolean,
    context: Context,
  ): Promise<void> {
    const isAll = lock.type === 'unlock' && lock.start <= HALT_BYTE && lock.end >= HALT_BYTE
    const database = this.#databaseOf(nodeid, isAll ? { ...lock, start: HALT_BYTE, end: HALT_BYTE } : lock)
    if (lock.type === 'unlock') await this.#locks.unlock(fh, owner)
    else if (lock.type === 'write') await this.#locks.lock(database, { fh, owner }, wait, context.signal)
    else throw new FuseError(EINVAL)
  }

  statfs(): StatfsReply {
    return { blocks: 0, bfree: 0, bavail: 0, files: 0, ffree: 0, bsize: BLOCK_SIZE, frsize: BLOCK_SIZE, namelen: 255 }
  }

  destroy(): void {}

  readlink(): never {
    throw new FuseError(EINVAL)
  }

  symlink(): never {
    throw new FuseError(EACCES)
  }

  mknod(): never {
    throw new FuseError(EACCES)
  }

  mkdir(): never {
    throw new FuseError(EACCES)
  }

  unlink(): never {
    throw new FuseError(EACCES)
  }

  rmdir(): never {
    throw new FuseError(EACCES)
  }

  rename(): never {
    throw new FuseError(EACCES)
  }

  link(): never {
    throw new FuseError(EACCES)
  }

  create(): never {
    throw new FuseError(EACCES)
  }

  /** The database whose halt lock this is. */
  #databaseOf(nodeid: number, { start, end }: FileLock): string {
    const { database } = this.#node(nodeid)
    if (database === undefined || start !== HALT_BYTE || end !== HALT_BYTE) throw new FuseError(EINVAL)
    return database
  }

  #find(path: string): { database: string | undefined } | undefined {
    const parsed = parseMountName(path)
    if (parsed.kind === 'lock' && (this.#store.get(parsed.database)?.state.pageCount ?? 0) > 0)
      return { database: parsed.database }
    return this.#store.local.stat(path)?.isDirectory() ? { database: undefined } : undefined
  }

  #node(id: number): Node {
    const node = this.#nodes.get(id)
    if (node === undefined) throw new FuseError(ENOENT)
    return node
  }

  #attr({ id, database }: Node): Attr {
    const never = timestampFromMs(0)
    const mode = database === undefined ? S_IFDIR | 0o755 : S_IFREG | 0o666
    const times = { atime: never, mtime: never, ctime: never }
    return { ino: id, size: 0, blocks: 0, ...times, mode, nlink: 1, ...this.#owner, blksize: BLOCK_SIZE }
  }
}
