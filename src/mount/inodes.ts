import { randomInt } from 'node:crypto'
import type { MountFile } from './mount-file.js'
import { joinName } from './names.js'

/** Number of the root directory (FUSE_ROOT_ID). */
export const ROOT_ID = 1

/** One inode that the kernel knows or a name leads to. */
export interface Inode {
  readonly id: number
  /** Another once it is known what kind of file it is. */
  file: MountFile
  /** Names below a directory that the kernel was told of. */
  readonly children: Map<string, Inode>
  parent: Inode | undefined
  name: string
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
  readonly root: Inode
  readonly #byId = new Map<number, Inode>()
  #nextId = ROOT_ID + 1 + randomInt(FIRST_ID_LIMIT)

  constructor(root: MountFile) {
    this.root = {
      id: ROOT_ID,
      file: root,
      children: new Map(),
      parent: undefined,
      name: '',
      linked: true,
      lookups: 1,
    }
    this.#byId.set(ROOT_ID, this.root)
  }

  get(id: number): Inode | undefined {
    return this.#byId.get(id)
  }

  /** The inode at a path in the mount, if the kernel knows it. */
  find(path: string): Inode | undefined {
    let inode: Inode | undefined = this.root
    for (const name of path.split('/')) inode = inode?.children.get(name)
    return inode
  }

  add(parent: Inode, name: string, file: MountFile): Inode {
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

  /** Gives an inode another name; what had that name has none any more. */
  move(inode: Inode, parent: Inode, name: string): void {
    const replaced = parent.children.get(name)
    if (replaced !== undefined) this.unlink(replaced)
    if (inode.parent?.children.get(inode.name) === inode) inode.parent.children.delete(inode.name)
    inode.parent = parent
    inode.name = name
    parent.children.set(name, inode)
  }

  forget(id: number, lookups: number): void {
    const inode = this.#byId.get(id)
    if (inode === undefined || inode === this.root) return
    inode.lookups -= lookups
    this.#collect(inode)
  }

  /** A directory stays as long as the kernel knows something in it. */
  #collect(inode: Inode): void {
    if (inode.lookups > 0 || inode.children.size > 0 || inode === this.root) return
    this.#byId.delete(inode.id)
    const { parent } = inode
    if (parent?.children.get(inode.name) !== inode) return
    parent.children.delete(inode.name)
    this.#collect(parent)
  }
}

/** The path of an inode in the mount, '' for its root. */
export function pathOf(inode: Inode): string {
  return inode.parent === undefined ? '' : joinName(pathOf(inode.parent), inode.name)
}
