import fs from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import type { BackupTimes } from './backup/backup-lanes.js'
import { BackupLoop } from './backup/backup-loop.js'
import { BackupPath } from './backup/backup-path.js'
import { openStorage } from './backup/open-storage.js'
import { isBackup } from './backup/replica-layout.js'
import { restoreDatabase } from './backup/restore.js'
import { LATEST, planRestore } from './backup/restore-plan.js'
import type { BackupSource } from './backup/source.js'
import { joinKey, type Storage } from './backup/storage.js'
import { storageAccess } from './backup-access.js'
import type { Config } from './config/schema.js'
import { syncNames } from './db/sync-names.js'
import type { Log } from './log.js'
import { formatTxid } from './ltx/names.js'

/** Directories below each other that are searched for databases. */
const MAX_DEPTH = 8

export interface NodeBackupParts {
  readonly source: BackupSource
  readonly log: Log
  /** The backup has everything of a database up to this TXID. */
  readonly onBackedUp: (name: string, txid: bigint) => void
}

/** The backup of a node that is primary; it has to be started. Rejects with StorageError when its URL or credentials are no good. */
export async function nodeBackup(config: Config, { source, log, onBackedUp }: NodeBackupParts): Promise<BackupLoop> {
  const { backup } = config
  const storage = await openStorage(backup.url, storageAccess(backup), process.env)
  const temporaryDir = path.join(path.resolve(config.data.dir), 'backup')
  return new BackupLoop({ source, storage, pathOf: (name) => name, temporaryDir, log, onBackedUp }, backupTimes(backup))
}

function backupTimes(backup: Config['backup']): BackupTimes {
  return {
    syncIntervalMs: backup['sync-interval'],
    snapshotIntervalMs: backup.snapshot.interval,
    snapshotRetentionMs: backup.snapshot.retention,
    levelIntervalsMs: backup.levels.map(({ interval }) => interval),
    uploadRetentionMs: backup['l0-retention'],
    uploadRetentionCheckMs: backup['l0-retention-check-interval'],
    removes: backup.retention.enabled,
  }
}

export type ImportDatabase = (name: string, content: Readable) => Promise<unknown>

/**
 * Brings every database of the backup into a node that has none, each as one transaction. Where that failed before, or was killed, it goes on
 * with those that are not among the `present` ones. Rejects, naming the database, when one of them cannot be restored: an application must
 * not begin with half of its data.
 */
export async function restoreAll(
  config: Config,
  log: Log,
  present: readonly string[],
  importDatabase: ImportDatabase,
): Promise<void> {
  const { backup } = config
  const dataDir = path.resolve(config.data.dir)
  // It is there until all of them are, and so tells the next run.
  const directory = restoringDir(config)
  if (present.length > 0 && !fs.existsSync(directory)) return
  const storage = await openStorage(backup.url, storageAccess(backup), process.env)
  try {
    await mkdir(directory, { recursive: true })
    await syncNames(dataDir)
    for (const name of await backedUpDatabases(storage)) {
      if (present.includes(name)) continue
      await restoreOne(new BackupPath(storage, name), name, path.join(directory, 'database'), log, importDatabase)
    }
    await rm(directory, { recursive: true })
  } finally {
    await storage.close()
  }
}

/**
 * What a restore had not finished is of no account any more: this node follows a primary, and has what that has. A database that is dropped there must
 * not come back once this node leads. Rejects with a system error.
 */
export async function forgetRestore(config: Config): Promise<void> {
  await rm(restoringDir(config), { recursive: true, force: true })
}

function restoringDir({ data }: Config): string {
  return path.join(path.resolve(data.dir), 'restoring')
}

async function restoreOne(
  from: BackupPath,
  name: string,
  file: string,
  log: Log,
  importDatabase: ImportDatabase,
): Promise<void> {
  try {
    const plan = planRestore(await from.allFiles(false), LATEST)
    const { signal } = new AbortController()
    const { txid } = await restoreDatabase(from, plan, file, { signal, onBytes: () => {}, check: async () => {} })
    await importDatabase(name, fs.createReadStream(file))
    log.info(`${name} restored from ${from.url} at TXID ${formatTxid(txid)} of the backup`)
  } catch (error) {
    throw new Error(`Cannot restore ${name} from ${from.url} (backup.restore-if-db-not-exists)`, { cause: error })
  }
}

/** The paths of all backups at a storage. */
async function backedUpDatabases(storage: Storage, at = '', depth = 0): Promise<string[]> {
  const directories = await storage.directories(at)
  if (at !== '' && isBackup(storage.layout, directories)) return [at]
  if (depth === MAX_DEPTH) return []
  const found: string[] = []
  for (const name of directories) found.push(...(await backedUpDatabases(storage, joinKey(at, name), depth + 1)))
  return found
}
