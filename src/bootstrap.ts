import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { BackupPath } from './backup/backup-path.js'
import { openStorage } from './backup/open-storage.js'
import { LATEST, planRestore } from './backup/restore-plan.js'
import { snapshotOfBackup } from './backup/snapshot-of-backup.js'
import type { Storage } from './backup/storage.js'
import { storageAccess } from './backup-access.js'
import type { Config } from './config/schema.js'
import type { PeerAccess } from './http/peer-access.js'
import { type PeerStanding, standingOf } from './http/peers.js'
import { describeError, type Log } from './log.js'
import { CHECKSUM_FLAG } from './ltx/checksum.js'
import { formatPosition, type Position } from './ltx/names.js'
import type { ReceivedLtx } from './replication/incoming-file.js'
import type { PositionMap } from './replication/position-map.js'

/** A replica that is about to connect. */
export interface BootstrapTarget {
  /** Of the primary's API. */
  readonly primaryUrl: string
  readonly positions: PositionMap
  readonly signal: AbortSignal
  /** Throws when this node must not take data of that cluster. */
  join(clusterId: string | undefined): void
  /** Takes a file as if the primary had sent it. */
  apply(name: string, ltx: ReceivedLtx): Promise<void>
}

/** Brings databases that a replica lacks, where it can. Rejects only with what `join` throws and with the reason of the signal. */
export type BringMissing = (target: BootstrapTarget) => Promise<void>

/** How long the primary may take to say where it stands, milliseconds. */
const ASK_MS = 5000

/**
 * Where `backup.bootstrap` says so, a new replica begins with what the backup has of the primary's databases, and asks the primary for the rest only. Each
 * database is taken from there once in a run: when that fails, or is of another history, the primary sends all of it.
 */
export function bootstrap(
  { backup, data, lease }: Pick<Config, 'backup' | 'data' | 'lease'>,
  access: PeerAccess,
  log: Log,
): BringMissing {
  if (!backup.bootstrap) return async () => {}
  const wanted = new Set(lease.databases)
  const tried = new Set<string>()
  const directory = path.join(path.resolve(data.dir), 'bootstrap')
  const open = () => openStorage(backup.url, storageAccess(backup), process.env)
  return async (target) => {
    // What a run has left that was killed.
    await rm(directory, { recursive: true, force: true })
    const standing = await ask(access, target, log)
    const missing = [...(standing?.positions ?? [])].filter(([name, { checksum }]) => {
      const isMissing = (target.positions.get(name)?.txid ?? 0n) === 0n && !tried.has(name)
      return isMissing && checksum !== CHECKSUM_FLAG && (wanted.size === 0 || wanted.has(name))
    })
    if (missing.length === 0) return
    target.join(standing?.clusterId)
    let storage: Storage | undefined
    for (const [name, position] of missing) {
      tried.add(name)
      try {
        storage ??= await open()
        await mkdir(directory, { recursive: true })
        await bring(new BackupPath(storage, name), name, position, { directory, compress: data.compress, target, log })
      } catch (error) {
        if (target.signal.aborted) break
        log.warn(`${name} cannot begin with its backup, the primary sends all of it: ${describeError(error)}`)
      } finally {
        await rm(directory, { recursive: true, force: true })
      }
    }
    await storage?.close()
    target.signal.throwIfAborted()
  }
}

async function ask(access: PeerAccess, { primaryUrl }: BootstrapTarget, log: Log): Promise<PeerStanding | undefined> {
  try {
    return await standingOf(access, primaryUrl, ASK_MS)
  } catch (error) {
    // One that is not there is told of by whoever connects to it.
    log.debug(`no database begins with its backup: ${describeError(error)}`)
    return undefined
  }
}

interface Bringing {
  readonly directory: string
  readonly compress: boolean
  readonly target: BootstrapTarget
  readonly log: Log
}

async function bring(
  from: BackupPath,
  name: string,
  primary: Position,
  { directory, compress, target, log }: Bringing,
): Promise<void> {
  const files = await from.allFiles(false)
  if (files.length === 0) return
  const plan = planRestore(files, LATEST)
  const megabytes = (plan.reduce((sum, { size }) => sum + size, 0) / 1e6).toFixed(1)
  log.info(`${name} begins with its backup, ${from.url}: ${megabytes} MB`)
  const { signal } = target
  const positionOf = (source: Position) => positionIn(primary, source)
  const snapshot = await snapshotOfBackup(from, plan, { directory, signal, compress, positionOf })
  signal.throwIfAborted()
  const { header, trailer, path: file } = snapshot
  await target.apply(name, { header, trailer, body: { path: file } })
  const { maxTxid: txid } = header
  log.info(`${name} is at ${formatPosition({ txid, checksum: trailer.postApplyChecksum })}, as its backup`)
}

/**
 * Where the primary stood when it was as the backup is. A database that was restored has another TXID than its backup, until this has
 * its next transaction. Whether an older position is in the primary's history at all, the primary will see.
 */
function positionIn(primary: Position, source: Position): Position {
  if (source.checksum === primary.checksum) return primary
  if (source.txid < primary.txid) return source
  throw new Error(`it is at ${formatPosition(source)} and the primary at ${formatPosition(primary)}`)
}
