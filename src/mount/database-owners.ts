import type { Database } from '../db/database.js'
import type { Ownership } from '../store/local-files.js'
import { readOwnership, writeOwnership } from '../store/ownership.js'
import { type Owner, PERMISSIONS } from './mount-file.js'

/** Mode of a database that nobody chose one for, as in LiteFS. */
const DEFAULT_MODE = 0o666

/** Who owns each database, read once. */
export class DatabaseOwners {
  readonly #owner: Owner
  readonly #known = new WeakMap<Database, Ownership>()

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

  /** The database must have its directory. */
  set(database: Database, { mode, uid, gid }: Ownership): void {
    const ownership = { mode: mode & PERMISSIONS, uid, gid }
    writeOwnership(database.layout, ownership)
    this.#known.set(database, ownership)
  }

  /** The database file is another, or gone. */
  forget(database: Database): void {
    this.#known.delete(database)
  }
}
