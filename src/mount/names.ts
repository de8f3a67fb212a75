import type { FileKind } from '../db/database-files.js'

/** What a name in the mount stands for, told by its suffix as LiteFS does. `database` is a path in the mount. */
export type MountName =
  | { readonly kind: FileKind; readonly database: string }
  | { readonly kind: 'position' | 'lock'; readonly database: string }
  | { readonly kind: 'lag' }
  | { readonly kind: 'primary' }

const SIDE_FILES = [
  ['-journal', 'journal'],
  ['-wal', 'wal'],
  ['-shm', 'shm'],
  ['-pos', 'position'],
  ['-lock', 'lock'],
] as const

export const SUFFIXES: Readonly<Record<FileKind, string>> = {
  database: '',
  journal: '-journal',
  wal: '-wal',
  shm: '-shm',
}
export const POSITION_SUFFIX = '-pos'
export const LOCK_SUFFIX = '-lock'
export const LAG_NAME = '.lag'
export const PRIMARY_NAME = '.primary'

/** No file of the mount has such a name, so no side file belongs to it. */
const NO_DATABASE: ReadonlySet<string> = new Set(['', '.', '..'])
/** As sqlite3.c makes them: `-mj`, six hexadecimal digits, a 9, two more. Never a database. */
const SUPER_JOURNAL = /-mj[0-9A-F]{6}9[0-9A-F]{2}$/

/** `name` is a path in the mount, without a slash in front. */
export function parseMountName(name: string): MountName {
  if (name === LAG_NAME) return { kind: 'lag' }
  if (name === PRIMARY_NAME) return { kind: 'primary' }
  const start = name.lastIndexOf('/') + 1
  for (const [suffix, kind] of SIDE_FILES) {
    const database = name.slice(0, -suffix.length)
    if (name.endsWith(suffix) && !NO_DATABASE.has(database.slice(start))) return { kind, database }
  }
  return { kind: 'database', database: name }
}

/** The longest name that the data directory's file system takes, bytes. */
export const NAME_MAX = 255
/** The longest name of a database, bytes: `-journal` fits behind it. */
export const DATABASE_NAME_MAX = NAME_MAX - SUFFIXES.journal.length

/** Whether a file of this name can be a database. */
export function canBeDatabase(name: string): boolean {
  return parseMountName(name).kind === 'database' && !SUPER_JOURNAL.test(name)
}

/** The path of `name` in the directory of path `parent`; '' is the root. */
export function joinName(parent: string, name: string): string {
  return parent === '' ? name : `${parent}/${name}`
}
