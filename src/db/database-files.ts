import fs from 'node:fs'
import path from 'node:path'
import { spreadSubdirectories } from '../native.js'
import { DATABASE_HEADER_SIZE, isCutShort, parseDatabaseHeader } from '../sqlite/database-header.js'
import { BackingFile, type FileStat } from './backing-file.js'
import type { DatabaseLayout } from './layout.js'
import { syncDirectory } from './ltx-spool.js'

/** Byte of the database header that tells the journal mode, and its value for WAL. */
const WRITE_VERSION_OFFSET = 18
const WAL_VERSION = 2

export type FileKind = 'database' | 'journal' | 'wal' | 'shm'
export const FILE_KINDS: readonly FileKind[] = ['database', 'journal', 'wal', 'shm']

/** The four files of one database, each opened once for all of its users. */
export class DatabaseFiles {
  readonly #layout: DatabaseLayout
  /** Those in use, and those that hold something in memory that the disk does not have. */
  readonly #open = new Map<FileKind, BackingFile>()
  #directoryChanged = false
  #shut: Promise<void> | undefined
  /** The topmost directory that had to be made for the files, until its name is on disk. */
  #newDirectory: string | undefined

  constructor(layout: DatabaseLayout) {
    this.#layout = layout
  }

  /**
   * While it is there nobody may open the files; it resolves when they may. It rejects with EIO, and stays, when what the database file has is
   * not whole.
   */
  get shut(): Promise<void> | undefined {
    return this.#shut
  }

  /** Nobody opens the files until `work`, which rewrites the database file, is done; or at all, when it fails. Rejects with what it rejects with. */
  async shutWhile(work: () => Promise<void>): Promise<void> {
    const working = work()
    this.#shut = working.catch((cause: unknown) => {
      const message = `Cannot open ${this.#layout.database}: a transaction was written in part; the next start of litefs writes the rest`
      throw Object.assign(new Error(message, { cause }), { code: 'EIO' })
    })
    this.#shut.catch(() => {})
    await working
    this.#shut = undefined
  }

  exists(kind: FileKind): boolean {
    return this.#open.has(kind) || fs.existsSync(this.#layout[kind])
  }

  /** Whether no file is in use, or has anything in memory that the disk does not have. */
  get atRest(): boolean {
    return this.#open.size === 0 && this.#shut === undefined
  }

  /** Whether someone uses the file that has this name now. */
  isOpen(kind: FileKind): boolean {
    return this.#open.get(kind)?.used ?? false
  }

  /** Whether the database file says that it is in WAL mode. Throws a system error. */
  isForWal(): boolean {
    if (!this.exists('database')) return false
    const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
    this.with('database', (file) => file.read(bytes, 0, bytes.length, 0))
    return bytes[WRITE_VERSION_OFFSET] === WAL_VERSION
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
      this.makeDirectories()
      if (kind === 'journal' && !fs.existsSync(this.#layout.journal)) return BackingFile.inMemory(this.#layout.journal)
      this.#directoryChanged = true
      return BackingFile.create(this.#layout[kind])
    })
  }

  /** Makes the directories of the database where there are none. */
  makeDirectories(): void {
    const made = makeDirectories(this.#layout)
    this.#newDirectory ??= made
    if (made !== undefined) this.#directoryChanged = true
  }

  /** Bytes of the file; 0 when there is none. */
  size(kind: FileKind): number {
    return this.#open.get(kind)?.size() ?? fs.statSync(this.#layout[kind], { throwIfNoEntry: false })?.size ?? 0
  }

  /** The file was moved away: gives it up, with all who have it open. */
  surrender(kind: FileKind): BackingFile | undefined {
    const file = this.#open.get(kind)
    this.#open.delete(kind)
    return file
  }

  /** Another file took the place of this one; `file` when somebody has it open. Whoever has the old one open keeps that. */
  adopt(kind: FileKind, file: BackingFile | undefined): void {
    if (file === undefined) this.#open.delete(kind)
    else this.#open.set(kind, file)
  }

  /** What is in memory alone stays for the next user. */
  release(kind: FileKind, file: BackingFile): void {
    if (!file.release()) return
    const current = this.#open.get(kind) === file
    if (current && file.staged) return
    file.close()
    if (current) this.#open.delete(kind)
  }

  /** Throws a system error where there is no such file. */
  stat(kind: FileKind): FileStat {
    return this.#open.get(kind)?.stat() ?? fs.statSync(this.#layout[kind])
  }

  /** Writes what is staged of the current file, if there is one, to the disk's side. Throws a system error. */
  flush(kind: FileKind): void {
    const file = this.#open.get(kind)
    if (file === undefined) return
    if (file.inMemory) this.#directoryChanged = true
    file.flush()
    if (file.used) return
    file.close()
    this.#open.delete(kind)
  }

  /** Whether the disk does not have all that was written to the file. */
  isStaged(kind: FileKind): boolean {
    return this.#open.get(kind)?.staged ?? false
  }

  /** Memory that staged writes take, bytes. */
  get stagedBytes(): number {
    let bytes = 0
    for (const file of this.#open.values()) bytes += file.stagedBytes
    return bytes
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

  /** Whether the database file has less than its header says. */
  isCutShort(): boolean {
    if (!this.exists('database')) return false
    return this.with('database', (file) => {
      const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
      file.read(bytes, 0, bytes.length, 0)
      const header = parseDatabaseHeader(bytes)
      return header !== undefined && isCutShort(header, file.size())
    })
  }

  /** Removes the name; whoever has the file open goes on using it. */
  remove(kind: FileKind): void {
    const file = this.#open.get(kind)
    if (file?.inMemory !== true) {
      fs.unlinkSync(this.#layout[kind])
      this.#directoryChanged = true
    }
    this.#open.delete(kind)
    if (file?.used === false) file.close()
  }

  /** Makes names that were created or removed durable. */
  syncNames(): void {
    if (!this.#directoryChanged) return
    const { dir } = this.#layout
    syncDirectory(dir)
    if (this.#newDirectory !== undefined) {
      for (let made = dir; made.length >= this.#newDirectory.length; made = path.dirname(made)) {
        syncDirectory(path.dirname(made))
      }
    }
    this.#directoryChanged = false
    this.#newDirectory = undefined
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

/** Makes the directories of a database; the topmost of them, undefined when they were there. */
function makeDirectories({ dir, ltxDir }: DatabaseLayout): string | undefined {
  if (fs.existsSync(ltxDir)) return undefined
  const made = fs.mkdirSync(dir, { recursive: true }) ?? dir
  const fd = fs.openSync(dir, 'r')
  try {
    spreadSubdirectories(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.mkdirSync(ltxDir)
  return made
}
