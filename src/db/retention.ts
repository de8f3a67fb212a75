import fs from 'node:fs/promises'
import { listLtxDirectory } from './ltx-directory.js'

export interface ExpiredFile {
  readonly path: string
  /** Bytes. */
  readonly size: number
}

/**
 * The LTX files of a directory that were last changed before `olderThanMs` (since the epoch), oldest first, without a gap and never the
 * newest file: what retention may remove.
 */
export async function expiredLtxFiles(ltxDir: string, olderThanMs: number): Promise<ExpiredFile[]> {
  const expired: ExpiredFile[] = []
  for (const entry of listLtxDirectory(ltxDir).slice(0, -1)) {
    const { mtimeMs, size } = await fs.stat(entry.path)
    if (mtimeMs >= olderThanMs) break
    expired.push({ path: entry.path, size })
  }
  return expired
}
