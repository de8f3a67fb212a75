import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { readHead } from '../backup/backup-head.js'
import type { BackupStatus, BackupTimes } from '../backup/backup-lanes.js'
import { BackupLoop } from '../backup/backup-loop.js'
import { BackupPath } from '../backup/backup-path.js'
import { DatabaseBackup } from '../backup/database-backup.js'
import { Maintenance } from '../backup/maintenance.js'
import { openStorage, type StorageAccess } from '../backup/open-storage.js'
import { isStorageUrl } from '../backup/replica-layout.js'
import { restoreDatabase } from '../backup/restore.js'
import { LATEST, planRestore } from '../backup/restore-plan.js'
import type { Storage } from '../backup/storage.js'
import type { Log } from '../log.js'
import { formatTxid } from '../ltx/names.js'
import { ofdSetLock } from '../native.js'
import { metaDirectory, PlainDatabase, type PlainDatabaseOptions } from './plain-database.js'

/** A database and where its backup is. */
export interface ReplicatedDatabase {
  /** As it was given, for messages. */
  readonly path: string
  readonly url: string
  readonly access: StorageAccess
  readonly times: BackupTimes
  readonly options: PlainDatabaseOptions
  /** Directory for what is not uploaded yet; empty: beside the database. */
  readonly metaDir: string
  readonly restoreIfMissing: boolean
}

interface Part {
  readonly database: PlainDatabase
  readonly loop: BackupLoop
  readonly unlock: () => void
}

/** Continuous backup of databases that an application writes without a mount. */
export class Replication {
  readonly #log: Log
  readonly #parts: Part[] = []

  constructor(log: Log) {
    this.#log = log
  }

  get statuses(): BackupStatus[] {
    return this.#parts.flatMap(({ loop }) => loop.statuses)
  }

  /** Begins with each. Rejects when a storage cannot be used, or somebody else backs up a database already. */
  async start(databases: readonly ReplicatedDatabase[]): Promise<void> {
    for (const database of databases) this.#parts.push(await startOne(database, this.#log))
  }

  /** Ends; what was committed last is uploaded first, if that can be done within half a minute. */
  async stop(): Promise<void> {
    await Promise.all(
      this.#parts.splice(0).map(async ({ database, loop, unlock }) => {
        await database.end()
        await loop.stop({ flush: true })
        await database.close()
        unlock()
      }),
    )
  }
}

async function startOne(replicated: ReplicatedDatabase, log: Log): Promise<Part> {
  const storage = await openStorage(replicated.url, replicated.access, process.env)
  const { database, directory, unlock } = prepare(replicated, storage, log)
  const temporaryDir = path.join(directory, 'uploads')
  const onBackedUp = (_name: string, txid: bigint) => database.backedUp(txid)
  const parts = { source: database, storage, pathOf: () => '', temporaryDir, log, mayWrite: () => true, onBackedUp }
  const loop = new BackupLoop(parts, replicated.times)
  await database.start()
  await loop.start()
  return { database, loop, unlock }
}

export interface OnceOptions {
  readonly forceSnapshot: boolean
  readonly enforceRetention: boolean
}

/** Brings a backup up to date, once. Rejects when that fails. */
export async function replicateOnce(
  replicated: ReplicatedDatabase,
  { forceSnapshot, enforceRetention }: OnceOptions,
  log: Log,
): Promise<void> {
  const storage = await openStorage(replicated.url, replicated.access, process.env)
  const { database, file, directory, unlock } = prepare(replicated, storage, log)
  const temporaryDir = path.join(directory, 'uploads')
  fs.rmSync(temporaryDir, { recursive: true, force: true })
  fs.mkdirSync(temporaryDir, { recursive: true })
  const from = new BackupPath(storage, '')
  const { signal } = new AbortController()
  const always = { mayWrite: () => true, onWritten: () => {} }
  const parts = { name: file, source: database, path: from, temporaryDir, log, signal, ...always }
  try {
    await database.lookOnce()
    const backup = new DatabaseBackup(parts)
    // Under another page size, Litestream needs a full copy to begin with.
    if ((await backup.sync()) || forceSnapshot) await backup.snapshot()
    if (enforceRetention) await removeExpired(new Maintenance(parts), replicated.times)
    const txid = (await readHead(from)).txid
    log.info(`${replicated.path} is backed up to ${storage.url} at TXID ${formatTxid(txid)}`)
  } catch (error) {
    // SQLite does not name the file.
    if (error instanceof Error && error.message.startsWith('Cannot ')) throw error
    throw new Error(`Cannot back up ${replicated.path}`, { cause: error })
  } finally {
    await database.close()
    await storage.close()
    fs.rmSync(temporaryDir, { recursive: true, force: true })
    unlock()
  }
}

async function removeExpired(maintenance: Maintenance, times: BackupTimes): Promise<void> {
  for (const index of times.levelIntervalsMs.keys()) await maintenance.compact(index + 1)
  await maintenance.removeSnapshots(Date.now() - times.snapshotRetentionMs)
  if (times.uploadRetentionMs > 0) await maintenance.removeUploads(Date.now() - times.uploadRetentionMs)
}

/** Restores a database that is not there, if there is a backup. Resolves to whether that was done. */
export async function restoreMissing(replicated: ReplicatedDatabase, log: Log): Promise<boolean> {
  const file = path.resolve(replicated.path)
  if (fs.existsSync(file)) return false
  const storage = await openStorage(replicated.url, replicated.access, process.env)
  try {
    const from = new BackupPath(storage, '')
    const files = await from.allFiles(false)
    if (files.length === 0) {
      log.info(`there is no backup of ${replicated.path} at ${storage.url} yet`)
      return false
    }
    fs.mkdirSync(path.dirname(file), { recursive: true })
    const { signal } = new AbortController()
    const plan = planRestore(files, LATEST)
    const { txid } = await restoreDatabase(from, plan, file, { signal, onBytes: () => {}, check: async () => {} })
    log.info(`${replicated.path} restored from ${storage.url} at TXID ${formatTxid(txid)} of the backup`)
    return true
  } catch (error) {
    throw new Error(`Cannot restore ${replicated.path} from ${storage.url}`, { cause: error })
  } finally {
    await storage.close()
  }
}

interface Prepared {
  readonly database: PlainDatabase
  /** Without symbolic links. */
  readonly file: string
  readonly directory: string
  readonly unlock: () => void
}

function prepare({ path: given, metaDir, options }: ReplicatedDatabase, storage: Storage, log: Log): Prepared {
  const file = realPath(given)
  const directory = metaDir === '' ? metaDirectory(file) : path.resolve(metaDir)
  const unlock = lockDirectory(directory, given)
  const lead = async () => (await readHead(new BackupPath(storage, ''))).source
  const captureDir = path.join(directory, 'captured')
  const database = new PlainDatabase({ file, nodeId: nodeIdOf(file), captureDir, lead, log }, options)
  return { database, file, directory, unlock }
}

/** The path as SQLite has it, which puts WAL and wal-index beside the file that a link leads to. Throws when its directory is not there. */
function realPath(given: string): string {
  const file = path.resolve(given)
  if (fs.existsSync(file)) return fs.realpathSync(file)
  try {
    return path.join(fs.realpathSync(path.dirname(file)), path.basename(file))
  } catch (cause) {
    throw new Error(`Cannot back up ${given}: its directory is not there`, { cause })
  }
}

/** Two that back up one database would take each other's TXIDs. */
function lockDirectory(directory: string, of: string): () => void {
  try {
    fs.mkdirSync(directory, { recursive: true })
  } catch (cause) {
    throw new Error(`Cannot back up ${of}: ${directory} cannot be made (meta-path names another directory)`, { cause })
  }
  const fd = fs.openSync(path.join(directory, 'lock'), 'a+', 0o600)
  if (!ofdSetLock(fd, 'write', 0, 0)) {
    fs.closeSync(fd)
    throw new Error(`Cannot back up ${of}: another litefs replicate does already, or it is listed twice`)
  }
  return () => fs.closeSync(fd)
}

/** Tells in a backup who wrote it: this database on this machine. */
function nodeIdOf(file: string): bigint {
  return createHash('sha256').update(`${os.hostname()}:${file}`).digest().readBigUInt64BE() | 1n
}

/** The address of a storage; a path is a directory of this machine, as with Litestream. */
export function storageUrlOf(text: string): string {
  return isStorageUrl(text) ? text : pathToFileURL(path.resolve(text)).href
}

/** The address of a storage as it may be shown. */
export function withoutPassword(url: string): string {
  const { protocol, username, host, pathname } = new URL(url)
  return `${protocol}//${username === '' ? '' : `${username}@`}${host}${pathname}`
}
