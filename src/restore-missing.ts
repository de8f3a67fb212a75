import fs from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Applier } from './apply/applier.js'
import { ThreadGate } from './apply/thread-gate.js'
import { readHeader } from './backup/backup-head.js'
import { BackupPath } from './backup/backup-path.js'
import { openStorage } from './backup/open-storage.js'
import { type BackupFile, isBackup } from './backup/replica-layout.js'
import { restoreDatabase } from './backup/restore.js'
import { LATEST, planRestore } from './backup/restore-plan.js'
import { snapshotOfBackup } from './backup/snapshot-of-backup.js'
import { joinKey, type Storage } from './backup/storage.js'
import { storageAccess } from './backup-access.js'
import type { Config } from './config/schema.js'
import { syncNames } from './db/sync-names.js'
import type { Log } from './log.js'
import { formatPosition, formatTxid } from './ltx/names.js'
import type { FileSystemThread } from './mount/file-system-thread.js'

/** Directories below each other that are searched for databases. */
const MAX_DEPTH = 8
/** How long what has a database open that is not there yet is waited for, milliseconds. */
const BUSY_TIMEOUT_MS = 60_000

export interface RestoreParts {
  readonly thread: FileSystemThread
  /** Makes a database of a SQLite file, as one transaction. */
  readonly importDatabase: (name: string, content: Readable) => Promise<unknown>
  readonly log: Log
}

/**
 * Brings every database of the backup into a primary that has none. Where that failed before, or was killed, it goes on with those that are not there.
 * Rejects, naming the database, when one of them cannot be restored: an application must not begin with half of its data.
 */
export async function restoreAll(config: Config, parts: RestoreParts): Promise<void> {
  const { backup, data } = config
  const present = (await parts.thread.ask({ kind: 'databases' })).map(({ name }) => name)
  // It is there until all of them are, and so tells the next run.
  const directory = restoringDir(config)
  if (present.length > 0 && !fs.existsSync(directory)) return
  const storage = await openStorage(backup.url, storageAccess(backup), process.env)
  const restore = new Restore(config, parts)
  try {
    await mkdir(directory, { recursive: true })
    await syncNames(path.resolve(data.dir))
    if ((await new BackupPath(storage, '').allFiles(false)).length > 0) {
      throw new Error(
        `Cannot restore from ${storage.url}: that is the backup of one database; backup.url is the directory above it, and the database then has its name (backup.restore-if-db-not-exists)`,
      )
    }
    for (const name of await backedUpDatabases(storage)) {
      if (!present.includes(name)) await restore.one(new BackupPath(storage, name), name, path.join(directory, 'files'))
    }
    await rm(directory, { recursive: true })
  } finally {
    await restore.close()
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

class Restore {
  readonly #config: Config
  readonly #parts: RestoreParts
  readonly #applier: Applier

  constructor(config: Config, parts: RestoreParts) {
    const { thread, log } = parts
    this.#config = config
    this.#parts = parts
    this.#applier = new Applier({
      dir: path.resolve(config.fuse.dir),
      script: fileURLToPath(new URL('./apply/main.js', import.meta.url)),
      gate: new ThreadGate(thread),
      log,
      sync: false,
      busyTimeoutMs: BUSY_TIMEOUT_MS,
    })
  }

  /** Leaves nothing in `directory`. */
  async one(from: BackupPath, name: string, directory: string): Promise<void> {
    try {
      await rm(directory, { recursive: true, force: true })
      await mkdir(directory)
      const plan = planRestore(await from.allFiles(false), LATEST)
      const last = plan.at(-1)
      const header = last && (await readHeader(from, last))
      const at =
        header?.sourcePosition === undefined
          ? await this.#import(from, plan, name, path.join(directory, 'database'))
          : await this.#goOn(from, plan, name, directory)
      this.#parts.log.info(`${name} restored from ${from.url} at ${at}`)
    } catch (error) {
      throw new Error(`Cannot restore ${name} from ${from.url} (backup.restore-if-db-not-exists)`, { cause: error })
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }

  async close(): Promise<void> {
    await this.#applier.close()
  }

  /** As it stood in the node that was backed up, byte by byte and with its position: the backup goes on with the next transaction. */
  async #goOn(from: BackupPath, plan: readonly BackupFile[], name: string, directory: string): Promise<string> {
    const { thread } = this.#parts
    const { signal } = new AbortController()
    const { compress } = this.#config.data
    const snapshot = await snapshotOfBackup(from, plan, { directory, signal, compress, positionOf: (at) => at })
    const { header, trailer } = snapshot
    if (!(await thread.ask({ kind: 'reserve', name }))) throw new Error('there is such a database by now')
    try {
      const { minTxid, maxTxid, preApplyChecksum: preApply } = header
      const ltx = { minTxid, maxTxid, preApply, postApply: trailer.postApplyChecksum, body: { path: snapshot.path } }
      return formatPosition(await this.#applier.apply(name, ltx))
    } finally {
      await this.#applier.release(name)
      await thread.ask({ kind: 'unhalt', name })
    }
  }

  /** Litestream does not say where a database stands: it begins anew. */
  async #import(from: BackupPath, plan: readonly BackupFile[], name: string, file: string): Promise<string> {
    const { signal } = new AbortController()
    const { txid } = await restoreDatabase(from, plan, file, { signal, onBytes: () => {}, check: async () => {} })
    await this.#parts.importDatabase(name, fs.createReadStream(file))
    return `TXID ${formatTxid(txid)} of the backup`
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
