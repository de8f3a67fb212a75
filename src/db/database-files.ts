import fs from 'node:fs'
import path from 'node:path'
import { spreadSubdirectories } from '../native.js'
import { BackingFile } from './backing-file.js'
import type { DatabaseLayout } from './layout.js'
import { syncDirectory } from './ltx-spool.js'

export type FileKind = 'database' | 'journal' | 'wal' | 'shm'
export const FILE_KINDS: readonly FileKind[] = ['database', 'journal', 'wal', 'shm']

/** The four files of one database, each opened once for all of its users. */
export class DatabaseFiles {
  readonly #layout: DatabaseLayout
  readonly #open = new Map<FileKind, BackingFile>()
  #directoryChanged = false
  #directoryIsNew = false

  constructor(layout: DatabaseLayout) {
    this.#layout = layout
  }

  exists(kind: FileKind): boolean {
    return this.#open.has(kind) || fs.existsSync(this.#layout[kind])
  }

  /** Whether someone uses the file that has this name now. */
  isOpen(kind: FileKind): boolean {
    return this.#open.has(kind)
  }

  isCurrent(kind: FileKind, file: BackingFile): boolean {
    return this.#open.get(kind) === file
  }

  /** Opens the existing file; the caller releases it. Throws Node's system error. */
  acquire(kind: FileKind): BackingFile {
    return this.#retain(kind, () => BackingFile.open(this.#layout[kind]))
  }

  /** Opens the file, creating it (and the directories of the database) where it does not exist. */
  create(kind: FileKind): BackingFile {
    return this.#retain(kind, () => {
      if (makeDirectories(this.#layout)) this.#directoryIsNew = true
      this.#directoryChanged = true
      return BackingFile.create(this.#layout[kind])
    })
  }

  release(kind: FileKind, file: BackingFile): void {
    if (file.release() && this.#open.get(kind) === file) this.#open.delete(kind)
  }

  /** Runs `use` with the current file open. */
  with<T>(kind: FileKind, use: (file: BackingFile) => T): T {
    const file = this.acquire(kind)
    try {
      return use(file)
    } finally {
      this.release(kind, file)
    }
  }

  /** Removes the name; whoever has the file open goes on using it. */
  remove(kind: FileKind): void {
    fs.unlinkSync(this.#layout[kind])
    this.#open.delete(kind)
    this.#directoryChanged = true
  }

  /** Makes names that were created or removed durable. */
  syncNames(): void {
    if (!this.#directoryChanged) return
    syncDirectory(this.#layout.dir)
    if (this.#directoryIsNew) syncDirectory(path.dirname(this.#layout.dir))
    this.#directoryChanged = false
    this.#directoryIsNew = false
  }

  #retain(kind: FileKind, open: () => BackingFile): BackingFile {
    let file = this.#open.get(kind)
    if (file === undefined) {
      file = open()
      this.#open.set(kind, file)
    }
    file.retain()
    return file
  }
}

/** Makes the directories of a database; false when they were there. */
function makeDirectories({ dir, ltxDir }: DatabaseLayout): boolean {
  if (fs.existsSync(ltxDir)) return false
  fs.mkdirSync(dir, { recursive: true })
  const fd = fs.openSync(dir, 'r')
  try {
    spreadSubdirectories(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.mkdirSync(ltxDir)
  return true
}
