import { readHeader } from './backup-head.js'
import type { BackupPath } from './backup-path.js'
import type { BackupFile } from './replica-layout.js'
import { inParallel } from './storage.js'

/** Some storages cut the times of files to whole seconds (SFTP), or two of them (FAT), milliseconds. */
const COARSE_MS = 1000
const COARSEST_MS = 2000
/** Headers that are read at once. */
const PARALLEL_HEADERS = 8

/**
 * All files of a backup, with times that tell which of them are older than `beforeMs`: where a storage has cut them, the files' own. Rejects with
 * StorageError.
 */
export async function filesAsOf(from: BackupPath, beforeMs: number | undefined): Promise<BackupFile[]> {
  const files = await from.allFiles(beforeMs !== undefined)
  if (beforeMs === undefined) return files
  return await inParallel(files, PARALLEL_HEADERS, async (file) => {
    const isCut = file.timeMs % COARSE_MS === 0
    if (!isCut || file.timeMs >= beforeMs || file.timeMs <= beforeMs - COARSEST_MS) return file
    const header = await readHeader(from, file)
    return header === undefined || header.timestamp === 0 ? file : { ...file, timeMs: header.timestamp }
  })
}
