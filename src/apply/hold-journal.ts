import fs from 'node:fs'
import { DatabaseLocks, releasing, retry } from './database-locks.js'
import type { DatabasePaths } from './database-paths.js'
import { hasLog, isHot } from './side-files.js'
import { type ApplyOptions, openSqlite } from './sqlite-connection.js'

/** A database without a log whose writers are kept out, by RESERVED on its file. */
export interface HeldJournal {
  readonly session?: undefined
  readonly fd: number
  readonly locks: DatabaseLocks
}

/** Undefined when there is a log by now, or there was something to recover. Readers go on. */
export async function holdJournal(
  paths: DatabasePaths,
  options: ApplyOptions,
  recover: boolean,
): Promise<HeldJournal | undefined> {
  const fd = fs.openSync(paths.database, 'r+')
  const locks = new DatabaseLocks(fd)
  let hot = false
  try {
    const what = `hold ${paths.database}`
    const taken = () => (locks.shared() && locks.reserved()) || releasing(locks)
    await retry(taken, what, options.busyTimeoutMs, options.signal)
    hot = recover && isHot(paths, fd)
    if (!hot && (fs.fstatSync(fd).size === 0 || !hasLog(paths, fd))) return { fd, locks }
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
  fs.closeSync(fd)
  if (hot) (await openSqlite(paths.database, options)).close()
  return undefined
}
