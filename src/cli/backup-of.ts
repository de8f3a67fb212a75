import { existsSync } from 'node:fs'
import path from 'node:path'
import type { BackupPath } from '../backup/backup-path.js'
import { isStorageUrl } from '../backup/replica-layout.js'

/** Where to look up what is no URL. */
export interface BackupOptions {
  /** Configuration file: of litefs, or of Litestream. */
  readonly config?: string
  readonly expandEnv: boolean
}

export interface FoundBackup {
  readonly from: BackupPath
  /** The database itself, where the configuration names it. */
  readonly file: string | undefined
}

/**
 * The backup that a URL names, or a database: by its name below `backup.url` of litefs.yml, by its path in the configuration of Litestream. Who calls
 * it closes the storage. Rejects with ConfigError, StorageError, or an Error that says where the database was looked for.
 */
export async function backupOf(source: string, options: BackupOptions): Promise<FoundBackup> {
  const { DEFAULT_ACCESS, openStorage } = await import('../backup/open-storage.js')
  const { BackupPath } = await import('../backup/backup-path.js')
  if (isStorageUrl(source)) {
    return { from: new BackupPath(await openStorage(source, DEFAULT_ACCESS, process.env), ''), file: undefined }
  }
  const env = options.expandEnv ? process.env : undefined
  const replicated = await replicatedDatabase(source, options)
  if (replicated !== undefined) {
    const storage = await openStorage(replicated.url, replicated.access, process.env)
    return { from: new BackupPath(storage, ''), file: path.resolve(replicated.path) }
  }
  const { loadConfig } = await import('../config/load.js')
  const { storageAccess } = await import('../backup-access.js')
  const { config, file } = loadConfig({ path: options.config, env })
  const { url } = config.backup
  if (url === '')
    throw new Error(
      `Cannot find the backup of ${source}: ${file} has no backup.url (a URL in place of the name needs none)`,
    )
  const storage = await openStorage(url, storageAccess(config.backup), process.env)
  return { from: new BackupPath(storage, source), file: undefined }
}

/** A database of Litestream's configuration; undefined where it is not that which counts. */
async function replicatedDatabase(source: string, options: BackupOptions) {
  const { isLitestreamConfig, litestreamConfigFile, loadLitestreamConfig } = await import(
    '../config/litestream-load.js'
  )
  const file = litestreamConfigFile(options.config, process.env)
  if (file === undefined || !isLitestreamConfig(file)) return undefined
  const { replicatedDatabases } = await import('../sidecar/replicate-config.js')
  const { config } = loadLitestreamConfig({ path: file, env: options.expandEnv ? process.env : undefined })
  const databases = replicatedDatabases(config)
  const wanted = path.resolve(source)
  const found = databases.find((database) => path.resolve(database.path) === wanted)
  if (found !== undefined) return found
  // Both may be on a machine that is moving from one to the other.
  if (options.config === undefined && !existsSync(wanted) && !source.startsWith('/')) return undefined
  const known = databases.map((database) => database.path).join(', ')
  throw new Error(`Cannot find the backup of ${source}: ${file} has only ${known === '' ? 'no database' : known}`)
}
