import { closeSync, openSync } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { ofdSetLock } from '../native.js'

const LOCK_NAME = 'lock'
const NOT_OURS: ReadonlySet<unknown> = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'])

/**
 * Has `use` work in a directory beside `output`, whose own directory is made where it is not there. Afterwards it is removed, and before that those
 * that killed processes have left there: each start of a container might leave a whole database otherwise. Rejects with system errors, and with
 * what `use` rejects with.
 */
export async function inRestoreDirectory<T>(output: string, use: (directory: string) => Promise<T>): Promise<T> {
  const parent = path.dirname(path.resolve(output))
  const prefix = `.${path.basename(output)}-restore-`
  await fs.mkdir(parent, { recursive: true })
  await removeAbandoned(parent, prefix)
  const directory = await fs.mkdtemp(path.join(parent, prefix))
  try {
    const fd = openSync(path.join(directory, LOCK_NAME), 'wx', 0o600)
    try {
      if (!ofdSetLock(fd, 'write', 0, 0)) throw new Error(`Cannot use ${directory}: another process removes it`)
      return await use(directory)
    } finally {
      closeSync(fd)
    }
  } finally {
    await fs.rm(directory, { recursive: true, force: true })
  }
}

/** A process that lives has the lock. */
async function removeAbandoned(parent: string, prefix: string): Promise<void> {
  for (const name of await fs.readdir(parent)) {
    if (!name.startsWith(prefix)) continue
    const directory = path.join(parent, name)
    const fd = openLock(directory)
    if (fd === undefined) continue
    try {
      if (ofdSetLock(fd, 'write', 0, 0)) await fs.rm(directory, { recursive: true, force: true })
    } finally {
      closeSync(fd)
    }
  }
}

/** Undefined where there is none, since its process has just begun or is about to end, and where it is another user's. */
function openLock(directory: string): number | undefined {
  try {
    return openSync(path.join(directory, LOCK_NAME), 'r+')
  } catch (error) {
    if (error instanceof Error && 'code' in error && NOT_OURS.has(error.code)) return undefined
    throw error
  }
}
