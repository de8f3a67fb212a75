import type { Stats } from 'node:fs'
import type { Database } from '../db/database.js'
import { FILE_KINDS } from '../db/database-files.js'
import { formatPosition } from '../ltx/names.js'
import { parentOf } from '../store/local-files.js'
import type { Store } from '../store/store.js'
import { DatabaseFile } from './database-file.js'
import type { DatabaseOwners } from './database-owners.js'
import { Directory, SymbolicLink } from './directory.js'
import type { Following } from './following.js'
import { LOCKS_NAME, LockDirectory, LockLink, type OpenLocks } from './lock-file.js'
import { type MountFile, type Owner, S_IFDIR, S_IFLNK, S_IFREG } from './mount-file.js'
import {
  canBeDatabase,
  joinName,
  LAG_NAME,
  LOCK_SUFFIX,
  type MountName,
  POSITION_SUFFIX,
  PRIMARY_NAME,
  parseMountName,
  SUFFIXES,
} from './names.js'
import { PlainFile } from './plain-file.js'
import { TextFile, type TextSource } from './text-file.js'

/** Bytes of a `-pos` file: TXID, slash, checksum, newline. */
const POSITION_SIZE = 34

/** An entry of a directory: its name and the type of its mode. */
export interface Listed {
  readonly name: string
  readonly type: number
}

/** What the paths of the mount stand for, and what its directories list. */
export class Namespace {
  readonly #store: Store
  readonly #owner: Owner
  readonly #owners: DatabaseOwners
  readonly #following: Following
  readonly #openLocks: OpenLocks

  constructor(store: Store, owner: Owner, owners: DatabaseOwners, following: Following, openLocks: OpenLocks) {
    this.#store = store
    this.#owner = owner
    this.#owners = owners
    this.#following = following
    this.#openLocks = openLocks
  }

  /** The file at that path if it exists. `cached` tells whether the kernel may remember the answer. */
  find(name: string): { file: MountFile | undefined; cached: boolean } {
    const parsed = parseMountName(name)
    if (name === LOCKS_NAME) return { file: new LockDirectory(this.#owner), cached: true }
    if (parsed.kind === 'primary') return { file: this.#primaryFile(), cached: false }
    if (parsed.kind === 'lag') return { file: new TextFile(lagSource(this.#following), this.#owner), cached: true }
    const file = this.#databaseFile(name, parsed) ?? this.#localFile(name)
    // Whether these two exist the daemon decides, and the kernel does not hear of it.
    const cached = parsed.kind !== 'position' && parsed.kind !== 'lock'
    return { file, cached }
  }

  /** The primary's name and a newline; only where another node is known to be the primary. */
  #primaryFile(): TextFile | undefined {
    if (this.#following.primary === undefined) return undefined
    // The kernel may know the file for longer than a primary lasts.
    const text = () => (this.#following.primary === undefined ? '' : `${this.#following.primary}\n`)
    const size = () => Buffer.byteLength(text())
    return new TextFile({ size, mode: 0o444, modifiedMs: Date.now, changedMs: startedMs, text }, this.#owner)
  }

  /** Whether the name is the daemon's, so that no program may create, replace or rename it. */
  isReserved(name: string): boolean {
    const parsed = parseMountName(name)
    if (!('database' in parsed) || name === LOCKS_NAME) return true
    return (parsed.kind === 'position' || parsed.kind === 'lock') && this.#listed(parsed.database) !== undefined
  }

  /**
   * The file that a program creates under this name. One of a database's side files only where there is such a database; a new file counts
   * as a database until it is closed or synced and is none. Undefined for the daemon's own names.
   */
  make(name: string): DatabaseFile | PlainFile | undefined {
    if (this.isReserved(name)) return undefined
    const { local } = this.#store
    const parsed = parseMountName(name)
    if (canBeDatabase(name)) return new DatabaseFile(this.#store.getOrCreate(name), 'database', this.#owners)
    if ('database' in parsed && parsed.kind !== 'position' && parsed.kind !== 'lock') {
      const database = this.#store.get(parsed.database)
      if (database?.files.exists('database')) return new DatabaseFile(database, parsed.kind, this.#owners)
    }
    return new PlainFile(local, name, undefined, 0)
  }

  isEmpty(directory: string): boolean {
    return this.#store.local.list(directory).length === 0 && this.#databasesIn(directory).next().done === true
  }

  /** The entries of a directory. */
  *list(directory: string): Generator<Listed> {
    for (const name of ['.', '..']) yield { name, type: S_IFDIR }
    if (directory === '') yield { name: LAG_NAME, type: S_IFREG }
    if (directory === '' && this.#following.primary !== undefined) yield { name: PRIMARY_NAME, type: S_IFREG }
    const known = new Set<string>()
    for (const database of this.#databasesIn(directory)) {
      const last = database.name.slice(directory === '' ? 0 : directory.length + 1)
      const names = FILE_KINDS.filter((kind) => database.files.exists(kind)).map((kind) => last + SUFFIXES[kind])
      // As LiteFS does it, which has no directories. In those, whoever copies or removes all names that begin alike must not meet it.
      if (directory === '' && isListed(database)) names.push(last + POSITION_SUFFIX)
      known.add(last + POSITION_SUFFIX).add(last + LOCK_SUFFIX)
      for (const name of names) {
        known.add(name)
        yield { name, type: S_IFREG }
      }
    }
    for (const entry of this.#store.local.list(directory)) {
      if (known.has(entry.name) && this.isReserved(joinName(directory, entry.name))) continue
      const type = entry.isDirectory() ? S_IFDIR : entry.isSymbolicLink() ? S_IFLNK : S_IFREG
      yield { name: entry.name, type }
    }
  }

  #databaseFile(name: string, parsed: Extract<MountName, { database: string }>): MountFile | undefined {
    const { kind } = parsed
    if (kind === 'position' || kind === 'lock') {
      if (this.#listed(parsed.database) === undefined) return undefined
      if (kind === 'lock') return new LockLink(name, this.#owner, this.#openLocks)
      return new TextFile(this.#positionSource(parsed.database), this.#owner)
    }
    const database = this.#store.get(kind === 'database' ? name : parsed.database)
    return database?.files.exists(kind) ? new DatabaseFile(database, kind, this.#owners) : undefined
  }

  #localFile(name: string): MountFile | undefined {
    const { local } = this.#store
    const stat = local.stat(name)
    return stat === undefined ? undefined : this.#fileOf(name, stat)
  }

  #fileOf(name: string, stat: Stats): MountFile {
    const { local } = this.#store
    if (stat.isDirectory()) return new Directory(local, name)
    return stat.isSymbolicLink() ? new SymbolicLink(local, name) : new PlainFile(local, name, undefined, 0)
  }

  /** Those that have a file there. */
  *#databasesIn(directory: string): Generator<Database> {
    for (const database of this.#store.all()) {
      if (parentOf(database.name) !== directory) continue
      if (FILE_KINDS.some((kind) => database.files.exists(kind))) yield database
    }
  }

  #listed(name: string): Database | undefined {
    const database = this.#store.get(name)
    return database !== undefined && isListed(database) ? database : undefined
  }

  #positionSource(name: string): TextSource {
    const text = (database: Database) => `${formatPosition(database.position)}\n`
    const modifiedMs = () => this.#store.get(name)?.lastCommitMs ?? 0
    return {
      size: () => POSITION_SIZE,
      mode: 0o666,
      modifiedMs,
      changedMs: modifiedMs,
      text: () => {
        const database = this.#store.get(name)
        if (database === undefined) return ''
        return database.provisional ? this.#store.settle(database).then(() => text(database)) : text(database)
      },
    }
  }
}

const START_MS = Date.now()

function startedMs(): number {
  return START_MS
}

/** A database with at least one transaction that was not dropped. */
function isListed(database: Database): boolean {
  return database.state.pageCount > 0
}

/** Its mtime is the moment up to which this node has everything. */
function lagSource(following: Following): TextSource {
  const modifiedMs = () => (following.replica ? (following.currentMs ?? 0) : Date.now())
  const size = () => following.lagText.length
  return { size, mode: 0o444, modifiedMs, changedMs: startedMs, text: () => following.lagText }
}
