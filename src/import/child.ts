import { lstatSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'

/**
 * Entry of the process that brings a SQLite file into the mount, as one transaction of an ordinary SQLite writer: it waits for locks, and
 * every connection that has the database open sees the change. A process of its own, since the daemon must not open its mount.
 */

/** Pages copied at a time: all of them, since nobody else is served here. */
const EVERYTHING = 0x7fffffff
/** How long other writers are waited for, milliseconds. */
const BUSY_LIMIT_MS = 60_000

async function run(source: string, mountDir: string, name: string): Promise<void> {
  const target = placeFor(mountDir, name)
  const from = new Database(source, { readonly: true })
  const pageSize = from.pragma('page_size', { simple: true })
  makeRoomFor(pageSize, target)
  try {
    const start = performance.now()
    await from.backup(target, {
      progress: () => {
        if (performance.now() - start > BUSY_LIMIT_MS) throw new Error('other connections keep the database locked')
        return EVERYTHING
      },
    })
  } finally {
    from.close()
  }
}

/**
 * The path of a database, whose directories are made where they are missing. No link is followed: whoever may write to the mount can make one that
 * leads out of it, where this process may write everything.
 */
function placeFor(mountDir: string, name: string): string {
  const parts = name.split('/')
  let place = mountDir
  for (const [index, part] of parts.entries()) {
    place = path.join(place, part)
    const isDatabase = index === parts.length - 1
    const found = lstatSync(place, { throwIfNoEntry: false })
    if (found === undefined && !isDatabase) mkdirSync(place, { recursive: true })
    if (found?.isSymbolicLink()) throw new Error(`${place} is a symbolic link, which is not followed`)
    if (found !== undefined && found.isDirectory() === isDatabase)
      throw new Error(`${place} is ${isDatabase ? 'a' : 'no'} directory`)
  }
  return place
}

/** In WAL mode the page size cannot change. */
function makeRoomFor(pageSize: unknown, target: string): void {
  const to = new Database(target, { timeout: BUSY_LIMIT_MS })
  try {
    if (to.pragma('page_size', { simple: true }) !== pageSize) to.pragma('journal_mode = delete')
  } finally {
    to.close()
  }
}

const [source = '', mountDir = '', name = ''] = process.argv.slice(2)
run(source, mountDir, name).catch((error: Error) => {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
})
