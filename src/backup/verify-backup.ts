import { rm } from 'node:fs/promises'
import path from 'node:path'
import { openLtxFile } from '../db/ltx-file.js'
import { LtxError } from '../ltx/error.js'
import { formatTxid } from '../ltx/names.js'
import type { BackupPath } from './backup-path.js'
import { download } from './download.js'
import { readWhole } from './read-whole.js'
import type { BackupFile } from './replica-layout.js'
import { type FetchedFile, openPlan, PARALLEL_DOWNLOADS } from './restore.js'
import { LATEST, planRestore, RestorePlanError } from './restore-plan.js'
import { inParallel, StorageError } from './storage.js'
import { readThrough } from './upload-body.js'

export interface BackupVerdict {
  readonly fileCount: number
  readonly bytes: number
  /** What is wrong with single files, or keeps a restore of the newest state from succeeding. */
  readonly errors: readonly Error[]
  /** The first and the last TXID of the backup that can be restored; undefined where none can. */
  readonly from: BackupFile | undefined
  readonly to: BackupFile | undefined
}

export interface VerifyOptions {
  /** For the files that the newest state is made of; it exists and is empty. */
  readonly directory: string
  readonly signal: AbortSignal
  /** Told of each piece that has arrived, bytes. */
  readonly onBytes: (count: number) => void
}

/**
 * Fetches every file of a backup and checks it, and then that the newest state can be restored: that the files follow each other and, in backups of
 * ours, that they come to the checksum that the database had. Takes disk space for what a restore would fetch. Rejects with StorageError when the storage
 * cannot be read, and with system errors.
 */
export async function verifyBackup(
  from: BackupPath,
  files: readonly BackupFile[],
  { directory, signal, onBytes }: VerifyOptions,
): Promise<BackupVerdict> {
  const errors: Error[] = []
  const plan = planned(files, errors)
  const fetched = new Map<BackupFile, FetchedFile>()
  let isPlanGood = plan.length > 0
  await inParallel(files, PARALLEL_DOWNLOADS, async (file) => {
    const target = path.join(directory, `${file.level}-${formatTxid(file.minTxid)}-${formatTxid(file.maxTxid)}`)
    const isPlanned = plan.includes(file)
    const fault = await faultOf(from, file, target, { signal, onBytes })
    // Retention may have removed it since it was listed: others have what was in it.
    const isExpired = !isPlanned && fault instanceof StorageError
    if (fault !== undefined && !isExpired) errors.push(fault)
    if (fault !== undefined && isPlanned) isPlanGood = false
    if (isPlanned) fetched.set(file, { file, target })
    else await rm(target, { force: true })
  })
  const chosen = plan.flatMap((file) => fetched.get(file) ?? [])
  const fault = isPlanGood ? await mergeFault(from, chosen, directory) : undefined
  if (fault !== undefined) errors.push(fault)
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  const isWhole = isPlanGood && fault === undefined
  return { fileCount: files.length, bytes, errors, from: firstOf(files), to: isWhole ? plan.at(-1) : undefined }
}

function planned(files: readonly BackupFile[], errors: Error[]): BackupFile[] {
  try {
    return planRestore(files, LATEST)
  } catch (error) {
    if (!(error instanceof RestorePlanError)) throw error
    errors.push(error)
    return []
  }
}

/** Of those that need nothing before them, the one that ends first. */
function firstOf(files: readonly BackupFile[]): BackupFile | undefined {
  return files
    .filter(({ minTxid }) => minTxid === 1n)
    .reduce<BackupFile | undefined>((first, file) => {
      return first === undefined || file.maxTxid < first.maxTxid ? file : first
    }, undefined)
}

async function faultOf(
  from: BackupPath,
  file: BackupFile,
  target: string,
  options: Pick<VerifyOptions, 'signal' | 'onBytes'>,
): Promise<Error | undefined> {
  try {
    await download(from, file, target, options)
    const { reader, close } = openLtxFile(target)
    try {
      const { minTxid, maxTxid } = reader.header
      if (minTxid !== file.minTxid || maxTxid !== file.maxTxid)
        throw new LtxError(`it has the transactions ${formatTxid(minTxid)} to ${formatTxid(maxTxid)}`)
      await readThrough(reader)
    } finally {
      close()
    }
    return undefined
  } catch (error) {
    options.signal.throwIfAborted()
    if (error instanceof StorageError && error.fault === 'missing') return error
    if (!(error instanceof LtxError)) throw error
    const reason = error.cause instanceof LtxError ? error.cause.message : error.message
    return new LtxError(`${from.urlOf(file)}: ${reason}`, { cause: error })
  }
}

async function mergeFault(
  from: BackupPath,
  files: readonly FetchedFile[],
  directory: string,
): Promise<Error | undefined> {
  try {
    const merge = await openPlan(from, files, directory)
    try {
      const { sourcePosition } = merge.reader.header
      await readWhole(merge.reader, sourcePosition?.checksum)
    } finally {
      merge.close()
    }
    return undefined
  } catch (error) {
    if (error instanceof LtxError) return error
    throw error
  }
}
