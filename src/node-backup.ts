import path from 'node:path'
import type { BackupTimes } from './backup/backup-lanes.js'
import { BackupLoop } from './backup/backup-loop.js'
import { openStorage } from './backup/open-storage.js'
import type { BackupSource } from './backup/source.js'
import { storageAccess } from './backup-access.js'
import type { Config } from './config/schema.js'
import type { Log } from './log.js'

export interface NodeBackupParts {
  readonly source: BackupSource
  readonly log: Log
  /** Whether this node is the one that backs up. */
  readonly mayWrite: () => boolean
  /** The backup has everything of a database up to this TXID. */
  readonly onBackedUp: (name: string, txid: bigint) => void
}

/** The backup of a node that is primary; it has to be started. Rejects with StorageError when its URL or credentials are no good. */
export async function nodeBackup(config: Config, parts: NodeBackupParts): Promise<BackupLoop> {
  const { backup } = config
  const storage = await openStorage(backup.url, storageAccess(backup), process.env)
  const temporaryDir = path.join(path.resolve(config.data.dir), 'backup')
  return new BackupLoop({ ...parts, storage, pathOf: (name) => name, temporaryDir }, backupTimes(backup))
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
