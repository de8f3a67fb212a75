import Sqlite from 'better-sqlite3'
import { retry } from './database-locks.js'

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
 * Throws BusyError, or SqliteError when it is no database.
 */
export async function openSqlite(file: string, options: ApplyOptions): Promise<Sqlite.Database> {
  const connection = new Sqlite(file, { fileMustExist: true, timeout: 0 })
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
