import fs from 'node:fs'
import path from 'node:path'
import { syncDirectory } from '../db/ltx-spool.js'
import { DATABASE_HEADER_SIZE, parseDatabaseHeader } from '../sqlite/database-header.js'

/** Who made a file or directory, and the mode that was asked for. */
export interface Ownership {
  /** Permissions, without the type of the file. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** Mode of the mount's root where nobody chose another, as in LiteFS. */
const ROOT_MODE = 0o777

/**
 * What the mount has besides databases, below `<data.dir>/files/` as it is in the mount: directories, symbolic links, and plain files,
 * which are this node's own. Databases are not in here, the directories that they are in are. Names are paths in the mount, '' is its root.
 */
export class LocalFiles {
  readonly root: string
  readonly #changed = new Set<string>()

  /** Makes the root where there is none. Throws a system error. */
  constructor(dataDir: string) {
    this.root = path.join(dataDir, 'files')
    if (fs.existsSync(this.root)) return
    fs.mkdirSync(this.root)
    fs.chmodSync(this.root, ROOT_MODE)
    syncDirectory(dataDir)
  }

  path(name: string): string {
    return path.join(this.root, name)
  }

  stat(name: string): fs.Stats | undefined {
    return fs.lstatSync(this.path(name), { throwIfNoEntry: false })
  }

  /** The entries of a directory. */
  list(name: string): fs.Dirent[] {
    return fs.readdirSync(this.path(name), { withFileTypes: true })
  }

  makeDirectory(name: string, ownership: Ownership): void {
    fs.mkdirSync(this.path(name), ownership.mode)
    this.own(name, ownership)
    this.changed(name)
  }

  /** Makes the directories that a database needs and that are missing. */
  makeParents(name: string): void {
    const parent = parentOf(name)
    if (parent === '' || this.stat(parent) !== undefined) return
    this.makeParents(parent)
    fs.mkdirSync(this.path(parent))
    this.changed(parent)
  }

  removeDirectory(name: string): void {
    fs.rmdirSync(this.path(name))
    this.changed(name)
  }

  makeLink(name: string, target: string, { uid, gid }: Ownership): void {
    fs.symlinkSync(target, this.path(name))
    if (isRoot()) fs.lchownSync(this.path(name), uid, gid)
    this.changed(name)
  }

  remove(name: string): void {
    fs.unlinkSync(this.path(name))
    this.changed(name)
  }

  /** Gives what was just made its owner and its very mode. Without root everything is the daemon's: then others may do what the owner may. */
  own(name: string, { mode, uid, gid }: Ownership): void {
    const file = this.path(name)
    const ours = process.geteuid?.() === uid
    if (isRoot()) fs.chownSync(file, uid, gid)
    fs.chmodSync(file, isRoot() || ours ? mode : mode | ((mode >> 6) & 0o7))
  }

  /** A name was added or removed: its directory has a new time, and is to be synced. */
  changed(name: string): void {
    this.#changed.add(this.path(parentOf(name)))
  }

  /** A database's file was added or removed, which lies elsewhere. */
  touchParent(name: string): void {
    const now = Date.now() / 1000
    fs.utimesSync(this.path(parentOf(name)), now, now)
  }

  /** Makes names that were added or removed durable. */
  syncNames(): void {
    for (const dir of this.#changed) if (fs.existsSync(dir)) syncDirectory(dir)
    this.#changed.clear()
  }
}

/** The directory of a path in the mount; '' is the root. */
export function parentOf(name: string): string {
  const slash = name.lastIndexOf('/')
  return slash < 0 ? '' : name.slice(0, slash)
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}

/** Whether the file has a database's header. Throws a system error. */
export function startsLikeDatabase(file: string): boolean {
  const fd = fs.openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
    fs.readSync(fd, bytes, 0, bytes.length, 0)
    return parseDatabaseHeader(bytes) !== undefined
  } finally {
    fs.closeSync(fd)
  }
}
