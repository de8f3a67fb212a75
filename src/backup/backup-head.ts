import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { LtxError } from '../ltx/error.js'
import { decodeHeader, HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import type { Position } from '../ltx/names.js'
import type { BackupPath } from './backup-path.js'
import { type BackupFile, LEVELS } from './replica-layout.js'
import { LATEST, planRestore, RestorePlanError } from './restore-plan.js'
import { inParallel } from './storage.js'

/** Headers that are read at once. */
const PARALLEL_HEADERS = 8

/** Where a backup stands. */
export interface BackupHead {
  /** Of the backup; 0 when there is none yet. */
  readonly txid: bigint
  /** Where the database stood then; undefined when that is not known: Litestream wrote it, or it is damaged. */
  readonly source: Position | undefined
  /** Pages of the database then. */
  readonly commit: number
  /** Bytes; 0 when it is not known. */
  readonly pageSize: number
  /** Who wrote it; 0 where Litestream did. */
  readonly nodeId: bigint
}

const EMPTY: BackupHead = { txid: 0n, source: undefined, commit: 0, pageSize: 0, nodeId: 0n }

/** Looks where a backup stands, for whoever is to go on. Rejects with StorageError. */
export async function readHead(path: BackupPath): Promise<BackupHead> {
  const levels = await Promise.all(LEVELS.map((level) => path.files(level)))
  const newest = levels.flat().reduce<BackupFile | undefined>((best, file) => {
    // Of a snapshot and the upload that ends there, the upload tells who wrote it.
    return best === undefined || file.maxTxid > best.maxTxid ? file : best
  }, undefined)
  if (newest === undefined) return EMPTY
  const header = await readHeader(path, newest)
  if (header === undefined) return { ...EMPTY, txid: newest.maxTxid }
  const { commit, pageSize, nodeId, sourcePosition: source } = header
  return { txid: newest.maxTxid, source, commit, pageSize, nodeId }
}

/**
 * Whether what a restore would take now has pages of different sizes, which Litestream does not merge: the process that uploaded the other size has ended
 * before the full copy that follows. Rejects with StorageError.
 */
export async function lacksFullCopy(path: BackupPath): Promise<boolean> {
  const plan = currentPlan(await path.allFiles(false))
  const headers = await inParallel(plan, PARALLEL_HEADERS, (file) => readHeader(path, file))
  return new Set(headers.map((header) => header?.pageSize)).size > 1
}

/** Without a plan a new copy mends nothing that is known here. */
function currentPlan(files: readonly BackupFile[]): BackupFile[] {
  try {
    return planRestore(files, LATEST)
  } catch (error) {
    if (error instanceof RestorePlanError) return []
    throw error
  }
}

/** Undefined when the file does not begin like one of a backup. */
export async function readHeader(path: BackupPath, file: BackupFile): Promise<LtxHeader | undefined> {
  // Of an empty file S3 and Azure give no range.
  if (file.size < HEADER_SIZE) return undefined
  try {
    return decodeHeader(await buffer(Readable.from(await path.read(file, 0, HEADER_SIZE))))
  } catch (error) {
    if (error instanceof LtxError) return undefined
    throw error
  }
}
