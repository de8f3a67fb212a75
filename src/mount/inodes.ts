import { randomInt } from 'node:crypto'
import type { MountFile } from './mount-file.js'

/** Number of the root directory (FUSE_ROOT_ID). */
export const ROOT_ID = 1

/** One inode that the kernel knows or a name leads to. */
export interface Inode {
  readonly id: number
  /** Undefined for a directory. */
  readonly file: MountFile | undefined
  /** Names below a directory that the kernel was told of. */
  readonly children: Map<string, Inode>
  readonly parent: Inode | undefined
  readonly name: string
  /** False once the name was removed; the inode then lives until the kernel forgets it. */
  linked: boolean
  /** Lookups that the kernel has not taken back. */
  lookups: number
}

/** Numbers below 2^31 are the fastest that there are, and a thousand million inodes have room above this one. */
const FIRST_ID_LIMIT = 2 ** 30

/**
 * The tree of inodes. Numbers are never used twice, so the kernel's caches cannot mix up two files of one name. Nor do two mounts use the
 * same: an application that outlived a killed daemon still has the old mount's database open and would put its journal into the new
 * mount, to be rolled back over newer content. SQLite compares inode numbers first, and refuses (SQLITE_READONLY_DBMOVED).
 */
export class Inodes {
  readonly root: Inode = {
    id: ROOT_ID,
    file: undefined,
    children: new Map(),
    parent: undefined,
    name: '',
    linked: true,
    lookups: 1,
  }
  readonly #byId = new Map<number, Inode>([[ROOT_ID, this.root]])
  #nextId = ROOT_ID + 1 + randomInt(FIRST_ID_LIMIT)

  get(id: number): Inode | undefined {
    return this.#byId.get(id)
  }

  add(parent: Inode, name: string, file: MountFile | undefined): Inode {
    const inode = { id: this.#nextId++, file, children: new Map(), parent, name, linked: true, lookups: 0 }
    this.#byId.set(inode.id, inode)
    parent.children.set(name, inode)
    return inode
  }

  /** The name is gone; whoever has the file open goes on. */
  unlink(inode: Inode): void {
    inode.linked = false
    if (inode.parent?.children.get(inode.name) === inode) inode.parent.children.delete(inode.name)
    this.#collect(inode)
  }

  forget(id: number, lookups: number): void {
    const inode = this.#byId.get(id)
    if (inode === undefined || inode === this.root) return
    inode.lookups -= lookups
    this.#collect(inode)
  }

  #collect(inode: Inode): void {
    if (inode.lookups > 0) return
    this.#byId.delete(inode.id)
    if (inode.parent?.children.get(inode.name) === inode) inode.parent.children.delete(inode.name)
  }
}
