import { constants } from 'node:os'
import { FILE_KINDS, type FileKind } from '../db/database-files.js'
import { FuseError } from '../fuse/errno.js'
import { DATABASE_HEADER_SIZE, parseDatabaseHeader } from '../sqlite/database-header.js'
import type { Store } from '../store/store.js'
import { DatabaseFile } from './database-file.js'
import type { DatabaseOwners } from './database-owners.js'
import { type Inode, pathOf } from './inodes.js'
import { LockDirectory, LockLink } from './lock-file.js'
import type { MountFile } from './mount-file.js'
import { canBeDatabase, parseMountName } from './names.js'
import { PlainFile } from './plain-file.js'
import { TextFile } from './text-file.js'

/** O_ACCMODE of open(2). */
const ACCESS_MODE = 3
/** What every database file begins with. */
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1')

/**
 * Decides what is a database and what a plain file, by what the file begins with once it is closed or synced. It may turn out otherwise
 * later, when a program puts other content under the same name; the inode stays, and with it whatever the kernel knows of it.
 */
export class FileKinds {
  readonly #store: Store
  readonly #owners: DatabaseOwners

  constructor(store: Store, owners: DatabaseOwners) {
    this.#store = store
    this.#owners = owners
  }

  /** After a file was closed or synced. */
  decide(inode: Inode): void {
    const { file } = inode
    if (!inode.linked) return
    if (file instanceof DatabaseFile) this.#decideDatabase(inode, file)
    else if (file instanceof PlainFile) this.#decidePlain(inode, file)
  }

  /** Before `data` is written to a file at `offset`: the beginning of a database makes it one. */
  beforeWrite(inode: Inode, data: Uint8Array, offset: number): void {
    const { file } = inode
    if (!(file instanceof PlainFile) || offset !== 0 || !inode.linked) return
    if (MAGIC.equals(data.subarray(0, MAGIC.length)) && canBeDatabase(file.name)) this.#toDatabase(inode, file)
  }

  /**
   * Before a file is opened: a plain file that was there before its name became that of a database's journal or WAL is one from now on.
   * EBUSY where it has content that would change the database unseen.
   */
  beforeOpen(inode: Inode, flags: number): void {
    const { file } = inode
    if (!(file instanceof PlainFile) || !inode.linked || file.opens > 0) return
    const parsed = parseMountName(file.name)
    if (!('database' in parsed) || parsed.kind === 'position' || parsed.kind === 'lock') return
    const database = parsed.kind === 'database' ? undefined : this.#store.get(parsed.database)
    if (database === undefined || !database.files.exists('database')) return
    if (parsed.kind === 'wal' && file.attributes(true).size > 0) {
      if ((flags & ACCESS_MODE) !== 0) throw new FuseError(constants.errno.EBUSY)
      return
    }
    this.#store.toSideFile(file.name, database, parsed.kind)
    inode.file = new DatabaseFile(database, parsed.kind, this.#owners)
  }

  #decideDatabase(inode: Inode, file: DatabaseFile): void {
    const { database, kind, opens } = file
    if (kind !== 'database' || database.state.pageCount > 0 || !database.files.exists('database')) return
    if (FILE_KINDS.some((side: FileKind) => side !== 'database' && database.files.exists(side))) return
    if (database.files.size('database') === 0 || startsLikeDatabase(file)) return
    const backing = this.#store.toPlain(database, this.#owners.of(database))
    this.#owners.forget(database)
    inode.file = new PlainFile(this.#store.local, pathOf(inode), backing, opens)
  }

  #decidePlain(inode: Inode, file: PlainFile): void {
    if (!canBeDatabase(file.name)) return
    const empty = file.opens === 0 && file.attributes(true).size === 0
    if (empty || startsLikeDatabase(file)) this.#toDatabase(inode, file)
  }

  #toDatabase(inode: Inode, file: PlainFile): void {
    const { opens } = file
    const backing = file.surrender()
    const database = this.#store.toDatabase(file.name, backing)
    this.#owners.forget(database)
    const taken = new DatabaseFile(database, 'database', this.#owners)
    taken.takeOver(backing, opens)
    inode.file = taken
    if (opens === 0) database.closed('database')
  }
}

function startsLikeDatabase(file: DatabaseFile | PlainFile): boolean {
  if (file.attributes(true).size < DATABASE_HEADER_SIZE) return false
  return parseDatabaseHeader(file.head(DATABASE_HEADER_SIZE)) !== undefined
}

/** Whether the file is one of the programs', which comes and goes through the mount only. */
export function isStored(file: MountFile): boolean {
  return !(file instanceof TextFile || file instanceof LockLink || file instanceof LockDirectory)
}
