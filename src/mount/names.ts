import type { FileKind } from '../db/database-files.js'

/** What a name in the mount stands for, told by its suffix as LiteFS does. */
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
export const LAG_NAME = '.lag'
export const PRIMARY_NAME = '.primary'

/** No file of the mount has such a name, so no side file belongs to it. */
const NO_DATABASE: ReadonlySet<string> = new Set(['', '.', '..'])

export function parseMountName(name: string): MountName {
  if (name === LAG_NAME) return { kind: 'lag' }
  if (name === PRIMARY_NAME) return { kind: 'primary' }
  for (const [suffix, kind] of SIDE_FILES) {
    const database = name.slice(0, -suffix.length)
    if (name.endsWith(suffix) && !NO_DATABASE.has(database)) return { kind, database }
  }
  return { kind: 'database', database: name }
}
