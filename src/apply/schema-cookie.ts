import { randomInt } from 'node:crypto'
import { retry } from './database-locks.js'
import { type ApplyOptions, isBusy, openSqlite } from './sqlite-connection.js'

/** More schema changes than a primary makes that nobody hears of, and at random: two primaries may raise it at the same time. */
const LEAST_STEPS = 1 << 10
const MOST_STEPS = 1 << 16

/**
 * Raises the database's schema cookie, in a transaction, to a number that no connection can have seen with another schema. Throws BusyError,
 * SqliteError. The process must not have the database open: closing a file ends the locks of all of its connections on it.
 */
export async function raiseSchemaCookie(file: string, options: ApplyOptions): Promise<void> {
  const connection = await openSqlite(file, options)
  try {
    // Otherwise SQLite lets nobody set it, and says nothing.
    connection.unsafeMode()
    const raise = connection.transaction(() => {
      const cookie = Number(connection.pragma('schema_version', { simple: true }))
      // SQLite has it as 32 bits with a sign.
      connection.pragma(`schema_version = ${(cookie + randomInt(LEAST_STEPS, MOST_STEPS)) | 0}`)
    })
    const attempt = () => {
      try {
        raise.immediate()
        return true
      } catch (error) {
        if (isBusy(error)) return false
        throw error
      }
    }
    await retry(attempt, `write to ${file}`, options.busyTimeoutMs, options.signal)
  } finally {
    connection.close()
  }
}
