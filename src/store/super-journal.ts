import fs from 'node:fs'
import path from 'node:path'
import { databaseLayout } from '../db/layout.js'
import type { LocalFiles } from './local-files.js'

/**
 * Whether the super-journal that a journal names is still there. In the mount it is a plain file of the data directory, by whatever path the
 * application knows the mount: through a symbolic link, or as a volume of its container. Elsewhere it is what its path says.
 */
export function isSuperJournalThere(
  file: string,
  local: LocalFiles,
  { dataDir, mountDir }: { readonly dataDir: string; readonly mountDir: string },
): boolean {
  const parts = path.resolve('/', file).split('/').filter(Boolean)
  // Its name ends with a random number, so that what is found below another directory is no other's.
  const isInMount = parts.some((_, start) => isNameThere(parts.slice(start).join('/'), local, dataDir))
  return isInMount || (path.relative(mountDir, file).startsWith('..') && fs.existsSync(file))
}

function isNameThere(name: string, local: LocalFiles, dataDir: string): boolean {
  return local.stat(name) !== undefined || fs.existsSync(databaseLayout(dataDir, name).database)
}
