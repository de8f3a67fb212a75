import fs from 'node:fs'
import type Sqlite from 'better-sqlite3'
import type { DatabasePaths } from './database-paths.js'
import { WalIndexFile } from './wal-index-file.js'

/** What a session has open of a database with a write-ahead log. */
export class SessionFiles {
  readonly connection: Sqlite.Database
  /** Descriptors. */
  readonly database: number
  readonly wal: number
  readonly index: WalIndexFile
  readonly #paths: DatabasePaths
  #direct: number | undefined

  /** Takes the connection, which is closed when the files cannot be opened. Throws a system error. */
  constructor(paths: DatabasePaths, connection: Sqlite.Database) {
    const opened: number[] = []
    const open = (path: string) => {
      const fd = fs.openSync(path, 'r+')
      opened.push(fd)
      return fd
    }
    this.#paths = paths
    this.connection = connection
    try {
      this.database = open(paths.database)
      this.wal = open(paths.wal)
      this.index = WalIndexFile.open(paths.shm)
    } catch (error) {
      connection.close()
      for (const fd of opened) fs.closeSync(fd)
      throw error
    }
  }

  /** Of the database file too, past the kernel's cache. Open from now on: closing it ends the locks of all connections of this process. */
  direct(): number {
    this.#direct ??= fs.openSync(this.#paths.database, fs.constants.O_RDWR | fs.constants.O_DIRECT)
    return this.#direct
  }

  /** The connection first: closing a file ends the locks of all connections of this process on it. */
  close(): void {
    this.connection.close()
    this.index.close()
    fs.closeSync(this.wal)
    fs.closeSync(this.database)
    if (this.#direct !== undefined) fs.closeSync(this.#direct)
  }
}
