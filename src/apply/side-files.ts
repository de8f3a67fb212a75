import fs from 'node:fs'
import { readPadded } from '../db/write-fully.js'
import { DATABASE_HEADER_SIZE, isWalMode, parseDatabaseHeader } from '../sqlite/database-header.js'
import type { DatabasePaths } from './database-paths.js'

/** Whether SQLite would open the database, which is open as `fd`, with a log: one is there, or the header asks for it. */
export function hasLog(paths: DatabasePaths, fd: number): boolean {
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  readPadded(fd, bytes, 0)
  const header = parseDatabaseHeader(bytes)
  if (header !== undefined && isWalMode(header)) return true
  return hasFrames(paths)
}

/** Whether there is a log with something in it. */
export function hasFrames(paths: DatabasePaths): boolean {
  return (fs.statSync(paths.wal, { throwIfNoEntry: false })?.size ?? 0) > 0
}

/** With RESERVED held: whether a writer died, and its journal is to be rolled back. */
export function isHot(paths: DatabasePaths, database: number): boolean {
  if (fs.fstatSync(database).size === 0 || !fs.existsSync(paths.journal)) return false
  const fd = fs.openSync(paths.journal, 'r')
  try {
    const first = new Uint8Array(1)
    readPadded(fd, first, 0)
    return first[0] !== 0
  } finally {
    fs.closeSync(fd)
  }
}

/** Whether SQLite would open the database with a log: one is there, or the header asks for it. An empty database has none. */
export function opensWithLog(paths: DatabasePaths): boolean {
  if (!fs.existsSync(paths.database)) return false
  const fd = fs.openSync(paths.database, 'r')
  try {
    return fs.fstatSync(fd).size > 0 && hasLog(paths, fd)
  } finally {
    fs.closeSync(fd)
  }
}
