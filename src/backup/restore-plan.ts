import { formatTxid } from '../ltx/names.js'
import { type BackupFile, SNAPSHOT_LEVEL } from './replica-layout.js'

/** Up to which point is restored; both undefined for all there is. */
export interface RestoreTarget {
  /** Of the backup, itself included. */
  readonly txid: bigint | undefined
  /** Only what is older than this, milliseconds since the epoch. */
  readonly beforeMs: number | undefined
}

export const LATEST: RestoreTarget = { txid: undefined, beforeMs: undefined }

/** No files lead to what was asked for. */
export class RestorePlanError extends Error {
  override name = 'RestorePlanError'
}

/**
 * The files that come to the database as of `target`, in order, as Litestream chooses them: the newest snapshot, then again and again the file that
 * leads furthest of those that begin no later than after what there is. Throws RestorePlanError when there are none, or not up to the TXID.
 */
export function planRestore(files: readonly BackupFile[], target: RestoreTarget): BackupFile[] {
  const { txid, beforeMs } = target
  const eligible = files.filter((file) => {
    return (txid === undefined || file.maxTxid <= txid) && (beforeMs === undefined || file.timeMs < beforeMs)
  })
  const plan: BackupFile[] = []
  const snapshot = newest(eligible.filter(({ level }) => level === SNAPSHOT_LEVEL))
  if (snapshot !== undefined) plan.push(snapshot)
  const rest = eligible.filter(({ level }) => level !== SNAPSHOT_LEVEL)
  for (let next = following(rest, endOf(plan)); next !== undefined; next = following(rest, endOf(plan))) plan.push(next)
  checkPlan(plan, files, target)
  return plan
}

function newest(files: readonly BackupFile[]): BackupFile | undefined {
  return files.reduce<BackupFile | undefined>((best, file) => {
    return best === undefined || file.maxTxid > best.maxTxid ? file : best
  }, undefined)
}

function endOf(plan: readonly BackupFile[]): bigint {
  return plan.at(-1)?.maxTxid ?? 0n
}

/** Of those that lead equally far: the one that begins first, then that of the higher level, then the older. */
function following(files: readonly BackupFile[], end: bigint): BackupFile | undefined {
  let best: BackupFile | undefined
  for (const file of files) {
    if (file.minTxid > end + 1n || file.maxTxid <= end) continue
    if (best === undefined || isBetter(file, best)) best = file
  }
  return best
}

function isBetter(file: BackupFile, best: BackupFile): boolean {
  if (file.maxTxid !== best.maxTxid) return file.maxTxid > best.maxTxid
  if (file.minTxid !== best.minTxid) return file.minTxid < best.minTxid
  return file.level === best.level ? file.timeMs < best.timeMs : file.level > best.level
}

function checkPlan(plan: readonly BackupFile[], files: readonly BackupFile[], { txid, beforeMs }: RestoreTarget): void {
  const [first] = plan
  const end = endOf(plan)
  if (first === undefined) throw new RestorePlanError(`there are no files${describeRange(files)}`)
  if (first.minTxid !== 1n)
    throw new RestorePlanError(`its files begin at TXID ${formatTxid(first.minTxid)}, without a snapshot`)
  if (txid !== undefined && end !== txid) {
    throw new RestorePlanError(`nothing leads to TXID ${formatTxid(txid)}: the nearest before it is ${formatTxid(end)}`)
  }
  if (txid !== undefined || beforeMs !== undefined) return
  const later = files.find(({ level, minTxid }) => level !== SNAPSHOT_LEVEL && minTxid > end + 1n)
  if (later === undefined) return
  const gap = `the files of TXID ${formatTxid(end + 1n)} to ${formatTxid(later.minTxid - 1n)} are missing`
  throw new RestorePlanError(`${gap} (-txid ${formatTxid(end)} restores what is before them)`)
}

function describeRange(files: readonly BackupFile[]): string {
  if (files.length === 0) return ''
  const times = files.map(({ timeMs }) => timeMs)
  const [oldest, latest] = [Math.min(...times), Math.max(...times)].map((timeMs) => new Date(timeMs).toISOString())
  return ` for that time: there are some of ${oldest} to ${latest}`
}
