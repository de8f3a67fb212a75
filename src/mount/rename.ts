import fs from 'node:fs'
import { constants } from 'node:os'
import type { Database } from '../db/database.js'
import { FuseError } from '../fuse/errno.js'
import type { Relocation } from '../store/relocation.js'
import type { Store } from '../store/store.js'
import { DatabaseFile } from './database-file.js'
import type { DatabaseOwners } from './database-owners.js'
import { Directory, SymbolicLink } from './directory.js'
import type { FileKinds } from './file-kinds.js'
import { type Inode, type Inodes, pathOf } from './inodes.js'
import type { MountFile } from './mount-file.js'
import { canBeDatabase, joinName, parseMountName } from './names.js'
import type { Namespace } from './namespace.js'
import { PlainFile } from './plain-file.js'

const { EACCES, EBUSY, EEXIST, EINVAL, EISDIR, ENOTDIR, ENOTEMPTY } = constants.errno
/** Of renameat2(2). */
const RENAME_NOREPLACE = 1

const NOTHING: Relocation = { moves: [], dropped: [], renames: [], removed: [] }

/** What a rename works on. */
export interface RenameParts {
  readonly store: Store
  readonly inodes: Inodes
  readonly namespace: Namespace
  readonly kinds: FileKinds
  readonly owners: DatabaseOwners
}

/**
 * rename(2) within the mount. A database that is renamed becomes a transaction of the name that it gets and another one of the name that it
 * loses; a directory takes all databases in it along like that. As on ext4 a database's journal and WAL keep their names when the database
 * alone is renamed, so nothing may depend on them: EBUSY while a connection uses the WAL or either holds a transaction. RENAME_EXCHANGE is
 * EINVAL: no program is known to exchange databases, and each would need the other's content in its log.
 */
export class Rename {
  readonly #parts: RenameParts

  constructor(parts: RenameParts) {
    this.#parts = parts
  }

  /** `source` has a name. Throws FuseError or a system error; then nothing has happened. */
  run(source: Inode, parent: Inode, name: string, flags: number): void {
    const { namespace, kinds, inodes, store } = this.#parts
    if ((flags & ~RENAME_NOREPLACE) !== 0) throw new FuseError(EINVAL)
    const from = pathOf(source)
    const to = joinName(pathOf(parent), name)
    const replaced = parent.children.get(name)?.file ?? namespace.find(to).file
    if (namespace.isReserved(from) || namespace.isReserved(to)) throw new FuseError(EACCES)
    if (replaced !== undefined && (flags & RENAME_NOREPLACE) !== 0) throw new FuseError(EEXIST)
    if (from === to) return
    this.#checkTypes(source.file, replaced, to)
    kinds.decide(source)
    const { file } = source
    const side = this.#sideOf(to)
    if (file instanceof DatabaseFile && file.kind !== 'database') this.#moveSideFile(source, file, replaced, to)
    else if (file instanceof PlainFile && side?.kind === 'journal' && replaced === undefined)
      this.#takeJournal(source, file, side.database)
    else store.relocate(this.#plan(file, from, replaced, to))
    inodes.move(source, parent, name)
    this.#renamed(source)
    for (const changed of [from, to]) store.local.touchParent(changed)
    kinds.decide(source)
  }

  #checkTypes(file: MountFile, replaced: MountFile | undefined, to: string): void {
    if (replaced === undefined) return
    if (file instanceof Directory) {
      if (!(replaced instanceof Directory)) throw new FuseError(ENOTDIR)
      if (!this.#parts.namespace.isEmpty(to)) throw new FuseError(ENOTEMPTY)
    } else if (replaced instanceof Directory) {
      throw new FuseError(EISDIR)
    }
  }

  #plan(file: MountFile, from: string, replaced: MountFile | undefined, to: string): Relocation {
    const { store } = this.#parts
    const { local } = store
    const rename = { from: local.path(from), to: local.path(to) }
    if (file instanceof Directory) {
      const moves = store.below(from).map((source) => {
        const target = store.getOrCreate(to + source.name.slice(from.length))
        return { source, target, withSideFiles: true }
      })
      return { ...NOTHING, moves, renames: [rename] }
    }
    if (file instanceof DatabaseFile) {
      if (!canBeDatabase(to)) throw new FuseError(EINVAL, `${to} is the name of a database's side file`)
      const removed = replaced instanceof PlainFile || replaced instanceof SymbolicLink ? [rename.to] : []
      const move = { source: file.database, target: store.getOrCreate(to), withSideFiles: false }
      return { ...NOTHING, moves: [move], removed }
    }
    if (this.#sideOf(to) !== undefined) throw new FuseError(EINVAL, `${to} is the name of a database's side file`)
    const dropped = replaced instanceof DatabaseFile ? [replaced.database] : []
    return { ...NOTHING, dropped, renames: [rename] }
  }

  /** A journal or WAL by itself, for programs that move all files of a database one by one. Only one that nothing depends on. */
  #moveSideFile(source: Inode, file: DatabaseFile, replaced: MountFile | undefined, to: string): void {
    const { store, owners } = this.#parts
    const { database, kind } = file
    if (kind === 'journal' && replaced === undefined && this.#sideOf(to) === undefined) {
      this.#moveJournal(source, file, to)
      return
    }
    if (database.busyWith !== undefined || database.files.isOpen(kind)) throw new FuseError(EBUSY)
    const side = this.#sideOf(to)
    if (side !== undefined && side.kind !== kind) throw new FuseError(EINVAL)
    if (side?.database.busyWith !== undefined || side?.database.files.isOpen(kind)) throw new FuseError(EBUSY)
    if (side === undefined && replaced instanceof DatabaseFile) throw new FuseError(EINVAL)
    // What is in memory has the path of its creation.
    database.files.flush(kind)
    side?.database.files.flush(kind)
    fs.renameSync(database.layout[kind], side?.database.layout[kind] ?? store.local.path(to))
    store.local.changed(to)
    source.file =
      side === undefined ? new PlainFile(store.local, to, undefined, 0) : new DatabaseFile(side.database, kind, owners)
    store.discardIfEmpty(database)
  }

  /** A journal, and with it the way back from the transaction that it belongs to. Whoever has it open goes on with it. */
  #moveJournal(source: Inode, { database, opens }: DatabaseFile, to: string): void {
    const { store } = this.#parts
    const ownership = this.#parts.owners.ofFile(database, 'journal')
    const journal = database.giveUpJournal(store.local.path(to))
    store.local.own(to, ownership)
    store.local.changed(to)
    source.file = new PlainFile(store.local, to, journal, opens)
    store.discardIfEmpty(database)
  }

  /** A plain file becomes the journal of a database that has none: the next reader rolls back what is in it. */
  #takeJournal(source: Inode, file: PlainFile, database: Database): void {
    const { store, owners } = this.#parts
    if (file.opens > 0) throw new FuseError(EBUSY)
    fs.renameSync(store.local.path(file.name), database.layout.journal)
    store.local.changed(file.name)
    owners.forgetFile(database, 'journal')
    source.file = new DatabaseFile(database, 'journal', owners)
  }

  /** The database whose side file a path is; undefined where there is no such database. */
  #sideOf(name: string) {
    const parsed = parseMountName(name)
    if (!('database' in parsed)) return undefined
    const { kind } = parsed
    if (kind === 'database' || kind === 'position' || kind === 'lock') return undefined
    const database = this.#parts.store.get(parsed.database)
    const exists = database?.files.exists('database') || database?.files.exists(kind)
    return database === undefined || !exists ? undefined : { database, kind }
  }

  /** Tells the files at and below an inode where they are now. */
  #renamed(inode: Inode): void {
    const { store, owners, inodes } = this.#parts
    const name = pathOf(inode)
    const { file } = inode
    if (file instanceof DatabaseFile) {
      const parsed = parseMountName(name)
      owners.forget(file.database)
      if ('database' in parsed) file.moveTo(store.getOrCreate(parsed.database))
      owners.forget(file.database)
    } else if (file instanceof PlainFile || file instanceof Directory || file instanceof SymbolicLink) {
      file.name = name
    } else {
      // A position or a lock: whoever asks for it again gets that of the new name.
      inodes.unlink(inode)
      return
    }
    for (const child of [...inode.children.values()]) this.#renamed(child)
  }
}
