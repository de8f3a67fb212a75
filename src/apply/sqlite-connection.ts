import Sqlite from 'better-sqlite3'
import { retry } from './database-locks.js'

/** With the longest of the names that go with it, `-journal`: MAX_PATHNAME of SQLite's os_unix.c. */
const MAX_PATH_BYTES = 512 - 8

/** How transactions are applied. */
export interface ApplyOptions {
  /** Wait for the disk where SQLite's default settings would. Not needed where the LTX files survive a power cut, and can be applied again. */
  readonly sync: boolean
  /** How long to wait for readers and other writers, milliseconds. */
  readonly busyTimeoutMs: number
  /** Ends what waits. */
  readonly signal: AbortSignal
}

/**
 * Opens a database and begins to read it, so that SQLite recovers what a writer that died left: a hot journal, a wal-index.
 * Throws BusyError, an error that says why it cannot be opened, or SqliteError when it is no database.
 */
export async function openSqlite(file: string, options: ApplyOptions): Promise<Sqlite.Database> {
  const connection = open(file)
  try {
    await retry(
      () => read(connection, options.sync ? 'NORMAL' : 'OFF'),
      `read ${file}`,
      options.busyTimeoutMs,
      options.signal,
    )
    return connection
  } catch (error) {
    connection.close()
    throw error
  }
}

function open(file: string): Sqlite.Database {
  try {
    return new Sqlite(file, { fileMustExist: true, timeout: 0 })
  } catch (cause) {
    const isLong = Buffer.byteLength(file) > MAX_PATH_BYTES
    const remedy = isLong
      ? `; SQLite opens no path of more than ${MAX_PATH_BYTES} bytes: choose a shorter fuse.dir`
      : ''
    throw new Error(`Cannot open ${file} with SQLite: ${(cause as Error).message}${remedy}`, { cause })
  }
}

/** False where somebody has it locked. The first statement reads the schema, whatever it is. */
function read(connection: Sqlite.Database, synchronous: string): boolean {
  try {
    connection.pragma(`synchronous = ${synchronous}`)
    connection.pragma('schema_version')
    return true
  } catch (error) {
    if (isBusy(error)) return false
    throw error
  }
}

/** Whether somebody else has the database locked. */
export function isBusy(error: unknown): boolean {
  return error instanceof Sqlite.SqliteError && error.code.startsWith('SQLITE_BUSY')
}
