import type { Database } from '../db/database.js'
import { FILE_KINDS } from '../db/database-files.js'
import { formatPosition } from '../ltx/names.js'
import type { Store } from '../store/store.js'
import { DatabaseFile } from './database-file.js'
import { LockFile } from './lock-file.js'
import type { MountFile, Owner } from './mount-file.js'
import { LAG_NAME, POSITION_SUFFIX, parseMountName, SUFFIXES } from './names.js'
import { TextFile, type TextSource } from './text-file.js'

/** Bytes of a `-pos` file: TXID, slash, checksum, newline. */
const POSITION_SIZE = 34
/** Milliseconds behind the primary: sign, nine digits, newline. A primary never is. */
const NO_LAG = '+000000000\n'

/** The names of the root directory: what they stand for and which are listed. */
export class RootDirectory {
  readonly #store: Store
  readonly #owner: Owner

  constructor(store: Store, owner: Owner) {
    this.#store = store
    this.#owner = owner
  }

  /** The file of that name if it exists. `cached` tells whether the kernel may remember the answer. */
  find(name: string): { file: MountFile | undefined; cached: boolean } {
    const parsed = parseMountName(name)
    if (parsed.kind === 'primary') return { file: undefined, cached: false }
    if (parsed.kind === 'lag') return { file: new TextFile(lagSource(), this.#owner), cached: true }
    const database = this.#store.get(parsed.database)
    if (parsed.kind === 'position' || parsed.kind === 'lock') {
      if (database === undefined || !isListed(database)) return { file: undefined, cached: false }
      if (parsed.kind === 'lock') return { file: new LockFile(this.#owner), cached: false }
      return { file: new TextFile(this.#positionSource(database), this.#owner), cached: false }
    }
    if (database?.files.exists(parsed.kind)) {
      return { file: new DatabaseFile(database, parsed.kind, this.#owner), cached: true }
    }
    return { file: undefined, cached: true }
  }

  /** The file that a program creates under this name; undefined when names of that form are not for programs to create. */
  make(name: string): DatabaseFile | undefined {
    const parsed = parseMountName(name)
    if (!('database' in parsed) || parsed.kind === 'position' || parsed.kind === 'lock') return undefined
    return new DatabaseFile(this.#store.getOrCreate(parsed.database), parsed.kind, this.#owner)
  }

  *names(): Generator<string> {
    yield LAG_NAME
    for (const database of this.#store.all()) {
      for (const kind of FILE_KINDS) if (database.files.exists(kind)) yield database.name + SUFFIXES[kind]
      if (isListed(database)) yield database.name + POSITION_SUFFIX
    }
  }

  #positionSource(database: Database): TextSource {
    const text = () => `${formatPosition(database.position)}\n`
    return {
      size: POSITION_SIZE,
      mode: 0o666,
      modifiedMs: () => database.lastCommitMs,
      text: () => (database.provisional ? this.#store.settle(database).then(text) : text()),
    }
  }
}

/** A database with at least one transaction that was not dropped. */
function isListed(database: Database): boolean {
  return database.state.pageCount > 0
}

function lagSource(): TextSource {
  return { size: NO_LAG.length, mode: 0o444, modifiedMs: Date.now, text: () => NO_LAG }
}
