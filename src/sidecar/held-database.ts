import fs from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import Sqlite from 'better-sqlite3'
import { DATABASE_HEADER_SIZE, type DatabaseHeader, parseDatabaseHeader } from '../sqlite/database-header.js'
import { parseWalIndexHeader, WAL_INDEX_HEADER_SIZE, type WalIndexHeader } from '../sqlite/wal-index.js'

/** Attempts to read the wal-index between two steps of a writer, and to begin to read between two transactions. */
const ATTEMPTS = 1000
/** Waits between two attempts at the writer's lock, milliseconds. */
const FIRST_WAIT_MS = 1
const LONGEST_WAIT_MS = 20

/** How long SQLite may wait for those who use a rollback journal when the mode is changed, milliseconds. */
const WAL_MODE_WAIT_MS = 100

/** What a checkpoint did. */
export interface Checkpointed {
  /** Of the WAL. */
  readonly frames: number
  /** Of these, how many are in the database file. */
  readonly copied: number
}

/** A connection that reads nothing, and keeps what it could read as it is: a SQLite read mark. */
class Reader {
  readonly connection: Sqlite.Database

  constructor(file: string) {
    this.connection = new Sqlite(file, { fileMustExist: true, timeout: 0 })
    // Checkpoints are made when all before them is captured.
    this.connection.pragma('wal_autocheckpoint = 0')
    this.connection.pragma('synchronous = NORMAL')
  }

  /** Begins to read. Throws SqliteError. */
  begin(): void {
    this.connection.exec('BEGIN')
    try {
      // Unlike a query, it does not look at the schema, which may need extensions.
      this.connection.pragma('schema_version')
    } catch (error) {
      this.connection.exec('ROLLBACK')
      throw error
    }
  }

  end(): void {
    if (this.connection.inTransaction) this.connection.exec('ROLLBACK')
  }
}

/**
 * A database of others in WAL mode, kept open beside them. There is always a read mark, except within `checkpoint` while writers are locked out: so
 * nobody can restart the WAL before what is in it was captured.
 *
 * SQLite's locks are those of the process, and the kernel drops them all when the process closes any descriptor of the file. So there is one
 * HeldDatabase for a file in a process; its own descriptors are opened once and closed after its connections, and nobody else here
 * opens the database or its -shm. (The WAL is never locked.)
 */
export class HeldDatabase {
  readonly file: string
  readonly databaseFd: number
  readonly walFd: number
  readonly #shmFd: number
  /** The one that has the read mark, and the one that has it next. */
  #holder: Reader
  #next: Reader
  readonly #writer: Reader
  readonly #readers = new Set<Reader>()
  #onReleased = () => {}

  private constructor(
    file: string,
    fds: readonly [number, number, number],
    connections: readonly [Reader, Reader, Reader],
  ) {
    this.file = file
    this.databaseFd = fds[0]
    this.walFd = fds[1]
    this.#shmFd = fds[2]
    this.#holder = connections[0]
    this.#next = connections[1]
    this.#writer = connections[2]
  }

  /**
   * Opens a database, in WAL mode from then on, with a read mark. Undefined while there is none: no file, or an empty one. Throws SqliteError where it
   * is no database, or somebody has it locked.
   */
  static open(file: string): HeldDatabase | undefined {
    const fds: number[] = []
    const connections: Reader[] = []
    const opened = (name: string) => {
      // For writing, although nothing is written: on an overlay file system that gives the file which others write to.
      const fd = fs.openSync(name, 'r+')
      fds.push(fd)
      return fd
    }
    const connected = () => {
      const reader = new Reader(file)
      connections.push(reader)
      return reader
    }
    try {
      if (!hasContent(file)) return undefined
      const databaseFd = opened(file)
      const holder = connected()
      useWal(holder.connection, file)
      holder.begin()
      const all = [databaseFd, opened(`${file}-wal`), opened(`${file}-shm`)] as const
      return new HeldDatabase(file, all, [holder, connected(), connected()])
    } catch (error) {
      for (const { connection } of connections) connection.close()
      for (const fd of fds) fs.closeSync(fd)
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Whether another file, or none, has the database's name by now, or that of its WAL or wal-index. */
  get isReplaced(): boolean {
    const names = [this.file, `${this.file}-wal`, `${this.file}-shm`]
    return [this.databaseFd, this.walFd, this.#shmFd].some((fd, i) => {
      const ours = fs.fstatSync(fd)
      const named = fs.statSync(names[i] ?? '', { throwIfNoEntry: false })
      return named?.ino !== ours.ino || named.dev !== ours.dev
    })
  }

  /** The header of the database file, which is older than what the WAL says. Undefined where it is none. */
  header(): { readonly header: DatabaseHeader | undefined; readonly fileSize: number } {
    const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
    fs.readSync(this.databaseFd, bytes, 0, bytes.length, 0)
    return { header: parseDatabaseHeader(bytes), fileSize: fs.fstatSync(this.databaseFd).size }
  }

  get walSize(): number {
    return fs.fstatSync(this.walFd).size
  }

  /** Where the WAL ends for SQLite. Throws when it cannot be read between two commits. */
  index(): WalIndexHeader {
    const bytes = Buffer.alloc(WAL_INDEX_HEADER_SIZE)
    for (let i = 0; i < ATTEMPTS; i++) {
      fs.readSync(this.#shmFd, bytes, 0, bytes.length, 0)
      const header = parseWalIndexHeader(bytes)
      if (header.valid) return header
    }
    throw new Error(`Cannot read ${this.file}-shm: its header is not valid`)
  }

  /** Moves the read mark to what is committed now, and returns that. There is one all the time. */
  moveMark(): WalIndexHeader {
    const index = this.#begin(this.#next)
    this.#holder.end()
    const before = this.#holder
    this.#holder = this.#next
    this.#next = before
    return index
  }

  /** Has the database stay as it is until `release`, beside the read mark, for somebody who reads all of it. */
  hold(): { readonly index: WalIndexHeader; release(): void } {
    const reader = new Reader(this.file)
    try {
      const index = this.#begin(reader)
      this.#readers.add(reader)
      const release = () => {
        if (!this.#readers.delete(reader)) return
        reader.connection.close()
        if (this.#readers.size === 0) this.#onReleased()
      }
      return { index, release }
    } catch (error) {
      reader.connection.close()
      throw error
    }
  }

  /** Keeps others from writing until `unlockWriter`. False when somebody writes for longer than `timeoutMs`. */
  async lockWriter(timeoutMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + timeoutMs
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
      try {
        this.#writer.connection.exec('BEGIN IMMEDIATE')
        return true
      } catch (error) {
        if (!isBusy(error)) throw error
      }
      if (performance.now() > deadlineMs) return false
      await delay(waitMs)
    }
  }

  unlockWriter(): void {
    this.#writer.end()
  }

  /** Copies to the database file what is before the read mark. Writers go on meanwhile. */
  copy(): void {
    passiveCheckpoint(this.#writer.connection)
  }

  /**
   * Copies to the database file all that others do not keep from it, and sets the read mark anew; the writer's lock is held. When all was copied, the
   * next writer begins the WAL anew.
   */
  checkpoint(): { readonly checkpointed: Checkpointed; readonly index: WalIndexHeader } {
    this.#holder.end()
    try {
      return { checkpointed: passiveCheckpoint(this.#holder.connection), index: this.#begin(this.#holder) }
    } catch (error) {
      // Whatever it was, there must be a read mark.
      if (!this.#holder.connection.inTransaction) this.#begin(this.#holder)
      throw error
    }
  }

  /**
   * Makes the WAL's file empty where nobody reads from it, and sets the read mark anew. In between writers are not locked out, so somebody may have
   * written what is lost to a capture: the change counter of the result tells.
   */
  truncateWal(): WalIndexHeader {
    this.#holder.end()
    try {
      this.#holder.connection.pragma('wal_checkpoint(TRUNCATE)')
    } finally {
      this.#begin(this.#holder)
    }
    return this.index()
  }

  /** Resolves when all is closed: those who hold the database are waited for. */
  async close(): Promise<void> {
    if (this.#readers.size > 0) await new Promise<void>((resolve) => (this.#onReleased = resolve))
    for (const { connection } of [this.#holder, this.#next, this.#writer]) connection.close()
    for (const fd of [this.databaseFd, this.walFd, this.#shmFd]) fs.closeSync(fd)
  }

  /** Begins to read, and returns exactly what is read then: nobody committed meanwhile. */
  #begin(reader: Reader): WalIndexHeader {
    for (let i = 0; i < ATTEMPTS; i++) {
      const before = this.index()
      reader.begin()
      const index = this.index()
      if (isSame(before, index)) return index
      reader.end()
    }
    throw new Error(`Cannot read ${this.file}: others write to it without a pause`)
  }
}

/** Throws where it stays in another mode, or somebody has it locked. */
function useWal(connection: Sqlite.Database, file: string): void {
  // SQLite keeps others from beginning to read while it waits, and has its turn.
  connection.pragma(`busy_timeout = ${WAL_MODE_WAIT_MS}`)
  const mode: unknown = connection.pragma('journal_mode = WAL', { simple: true })
  connection.pragma('busy_timeout = 0')
  if (mode !== 'wal') throw new Error(`Cannot back up ${file}: its journal mode stays ${String(mode)}, and must be WAL`)
}

/** Whether somebody has the lock that was needed. */
export function isBusy(error: unknown): boolean {
  return error instanceof Sqlite.SqliteError && /^SQLITE_(?:BUSY|PROTOCOL|LOCKED)/.test(error.code)
}

function passiveCheckpoint(connection: Sqlite.Database): Checkpointed {
  const [row] = connection.pragma('wal_checkpoint(PASSIVE)') as { log: number; checkpointed: number }[]
  return { frames: row?.log ?? 0, copied: row?.checkpointed ?? 0 }
}

function isSame(a: WalIndexHeader, b: WalIndexHeader): boolean {
  return (
    a.changeCounter === b.changeCounter &&
    a.mxFrame === b.mxFrame &&
    a.nPage === b.nPage &&
    a.salt1 === b.salt1 &&
    a.salt2 === b.salt2 &&
    a.s1 === b.s1 &&
    a.s2 === b.s2
  )
}

function hasContent(file: string): boolean {
  const stat = fs.statSync(file, { throwIfNoEntry: false })
  return stat?.isFile() === true && stat.size > 0
}
