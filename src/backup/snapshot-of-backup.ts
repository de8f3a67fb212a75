import fs from 'node:fs/promises'
import path from 'node:path'
import { writeLtxFile } from '../db/ltx-merge.js'
import { LtxError } from '../ltx/error.js'
import type { LtxHeader } from '../ltx/header.js'
import type { Position } from '../ltx/names.js'
import type { LtxReader } from '../ltx/page-block.js'
import type { LtxTrailer } from '../ltx/trailer.js'
import type { BackupPath } from './backup-path.js'
import { download } from './download.js'
import { checkedPages } from './read-whole.js'
import { type BackupFile, SNAPSHOT_LEVEL } from './replica-layout.js'
import { type FetchedFile, openPlan, PARALLEL_DOWNLOADS } from './restore.js'
import { LATEST, planRestore, RestorePlanError } from './restore-plan.js'
import { inParallel } from './storage.js'

/** After downloads that took longer than this, milliseconds, what was uploaded meanwhile is fetched too; at most so often. */
const LONG_DOWNLOAD_MS = 10_000
const MAX_ROUNDS = 5

export interface SnapshotOptions {
  /** Where the files go; it exists and is empty. */
  readonly directory: string
  readonly signal: AbortSignal
  readonly compress: boolean
  /** Where the database stands that the backup's last file describes so. Throws when that is no use. */
  readonly positionOf: (source: Position) => Position
}

/** A whole database as one LTX file, as a primary would send it. */
export interface BackupSnapshot {
  readonly path: string
  readonly header: LtxHeader
  readonly trailer: LtxTrailer
}

/**
 * Makes the newest that a backup has of a database into the file that a primary sends to a new replica, in the database's own TXIDs and with its checksums.
 * Every file is verified, and the checksum of the whole database. Rejects with StorageError, RestorePlanError, LtxError, system errors, and
 * what `positionOf` throws.
 */
export async function snapshotOfBackup(
  from: BackupPath,
  plan: readonly BackupFile[],
  options: SnapshotOptions,
): Promise<BackupSnapshot> {
  const { directory, compress, positionOf } = options
  const merge = await openPlan(from, await fetchPlan(from, plan, options), directory)
  try {
    const { sourcePosition } = merge.reader.header
    if (sourcePosition === undefined) throw new LtxError(`${from.url} does not say where the database stood`)
    const reader = asSnapshot(merge.reader, positionOf(sourcePosition))
    const target = path.join(directory, 'snapshot.ltx')
    const trailer = await writeLtxFile(reader, target, { compress })
    return { path: target, header: reader.header, trailer }
  } finally {
    merge.close()
  }
}

/** Fetches the files of a plan and, where that takes long, of what has come meanwhile. */
async function fetchPlan(
  from: BackupPath,
  first: readonly BackupFile[],
  { directory, signal }: SnapshotOptions,
): Promise<FetchedFile[]> {
  const fetched = new Map<string, FetchedFile>()
  let plan = first
  for (let round = 1; ; round++) {
    const startMs = performance.now()
    const missing = plan.filter((file) => !fetched.has(from.urlOf(file)))
    await inParallel(missing, PARALLEL_DOWNLOADS, async (file) => {
      const target = path.join(directory, `${file.level}-${file.maxTxid}.ltx`)
      await fs.rm(target, { force: true })
      await download(from, file, target, { signal, onBytes: () => {} })
      fetched.set(from.urlOf(file), { file, target })
    })
    const isDone = round === MAX_ROUNDS || performance.now() - startMs < LONG_DOWNLOAD_MS
    const next = isDone ? undefined : newerPlan(await from.allFiles(false), plan)
    if (next === undefined) break
    plan = next
  }
  return plan.flatMap((file) => fetched.get(from.urlOf(file)) ?? [])
}

/** What leads on from the same snapshot; undefined where nothing does any more. */
function newerPlan(files: readonly BackupFile[], plan: readonly BackupFile[]): BackupFile[] | undefined {
  const [start] = plan
  const usable = files.filter(({ level, maxTxid }) => {
    return level !== SNAPSHOT_LEVEL || (start?.level === level && start.maxTxid === maxTxid)
  })
  try {
    return planRestore(usable, LATEST)
  } catch (error) {
    if (error instanceof RestorePlanError) return undefined
    throw error
  }
}

/** The same pages, as the snapshot that ends at `position`. Throws LtxError, at the last page, when they are not that. */
function asSnapshot(reader: LtxReader, position: Position): LtxReader {
  const { pageSize, commit, timestamp } = reader.header
  const header: LtxHeader = {
    flags: 0,
    pageSize,
    commit,
    minTxid: 1n,
    maxTxid: position.txid,
    timestamp,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  }
  return {
    header,
    trailer: { postApplyChecksum: position.checksum },
    pages: () => checkedPages(reader, position.checksum),
  }
}
