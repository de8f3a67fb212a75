import fs from 'node:fs/promises'
import path from 'node:path'
import { syncNames } from './sync-names.js'

const SIDE_FILES = ['-wal', '-shm', '-journal']

/**
 * Gives a whole database, which is on disk, its name beside it, in the place of what has that name. What goes with the old file goes first, also
 * on disk: its journal or WAL would be played into the new one. A crash in between leaves the old file without them. Rejects with a system
 * error.
 */
export async function replaceDatabase(whole: string, file: string): Promise<void> {
  const directory = path.dirname(path.resolve(file))
  for (const suffix of SIDE_FILES) await fs.rm(file + suffix, { force: true })
  await syncNames(directory)
  await fs.rename(whole, file)
  await syncNames(directory)
}
