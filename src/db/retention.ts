import fs from 'node:fs/promises'
import { listLtxDirectory } from './ltx-directory.js'

/**
 * The LTX files of a directory that were last changed before `olderThanMs` (since the epoch), oldest first, without a gap and never the
 * newest file: what retention may remove. Files are written in order, so it looks at few of them.
 */
export async function expiredLtxFiles(ltxDir: string, olderThanMs: number): Promise<string[]> {
  const entries = listLtxDirectory(ltxDir).slice(0, -1)
  let expired = 0
  let end = entries.length
  while (expired < end) {
    const middle = (expired + end) >> 1
    const { mtimeMs } = await fs.stat(entries[middle]?.path ?? ltxDir)
    if (mtimeMs < olderThanMs) expired = middle + 1
    else end = middle
  }
  return entries.slice(0, expired).map((entry) => entry.path)
}
