import { isDeepStrictEqual } from 'node:util'
import type { Database } from '../db/database.js'
import type { FileKind } from '../db/database-files.js'
import type { Ownership } from '../store/local-files.js'
import { readOwnership, writeOwnership } from '../store/ownership.js'
import { type Owner, PERMISSIONS } from './mount-file.js'

/** Mode of a database that nobody chose one for, as in LiteFS. */
const DEFAULT_MODE = 0o666

/**
 * Who owns each database, read once. Journal, WAL and wal-index are the database's owner's, whoever makes them; what somebody chose for one
 * of them holds as long as that file exists and this process runs.
 */
export class DatabaseOwners {
  readonly #owner: Owner
  readonly #known = new WeakMap<Database, Ownership>()
  readonly #sides = new WeakMap<Database, Map<FileKind, Ownership>>()

  constructor(owner: Owner) {
    this.#owner = owner
  }

  of(database: Database): Ownership {
    let ownership = this.#known.get(database)
    if (ownership === undefined) {
      ownership = readOwnership(database.layout, { mode: DEFAULT_MODE, ...this.#owner })
      this.#known.set(database, ownership)
    }
    return ownership
  }

  /** Of one of the database's files. */
  ofFile(database: Database, kind: FileKind): Ownership {
    return this.#sides.get(database)?.get(kind) ?? this.of(database)
  }

  setFile(database: Database, kind: FileKind, { mode, uid, gid }: Ownership): void {
    if (kind === 'database') {
      this.set(database, { mode, uid, gid })
      return
    }
    const sides = this.#sides.get(database) ?? new Map<FileKind, Ownership>()
    this.#sides.set(database, sides)
    const chosen = { mode: mode & PERMISSIONS, uid, gid }
    // SQLite gives its files to the database's owner: then they go on following it.
    if (isDeepStrictEqual(chosen, this.of(database))) sides.delete(kind)
    else sides.set(kind, chosen)
  }

  /** The file is a new one. */
  forgetFile(database: Database, kind: FileKind): void {
    this.#sides.get(database)?.delete(kind)
  }

  /** The database must have its directory. */
  set(database: Database, { mode, uid, gid }: Ownership): void {
    const ownership = { mode: mode & PERMISSIONS, uid, gid }
    writeOwnership(database.layout, ownership)
    this.#known.set(database, ownership)
  }

  /** The database file is another, or gone. */
  forget(database: Database): void {
    this.#known.delete(database)
    this.#sides.delete(database)
  }
}
