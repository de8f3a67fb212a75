import { formatLtxName, formatTxid, parseLtxName } from '../ltx/names.js'

/** Level of full snapshots; below it, 0 is what was uploaded and each other one compacts the one below it (Litestream: SnapshotLevel). */
export const SNAPSHOT_LEVEL = 9
export const LEVELS: readonly number[] = Array.from({ length: SNAPSHOT_LEVEL + 1 }, (_, level) => level)

/** Which transactions a file of a backup holds, and where. TXIDs are the backup's own: one for each upload. */
export interface FileRange {
  readonly level: number
  readonly minTxid: bigint
  readonly maxTxid: bigint
}

export interface BackupFile extends FileRange {
  /** Bytes. */
  readonly size: number
  /** When its last transaction was committed or, where only that is known, when it was written; milliseconds since the epoch. */
  readonly timeMs: number
}

/** Directory of a level below the path of a backup, as Litestream has it: `0009` on S3, `ltx/9` elsewhere. */
export function levelDirectory(layout: 'hex' | 'ltx', level: number): string {
  return layout === 'hex' ? level.toString(16).padStart(4, '0') : `ltx/${level}`
}

/** Path of a file below that of its backup. */
export function filePath(layout: 'hex' | 'ltx', { level, minTxid, maxTxid }: FileRange): string {
  return `${levelDirectory(layout, level)}/${formatLtxName(minTxid, maxTxid)}`
}

/** The least name of a file that begins at a TXID. */
export function firstNameFrom(txid: bigint): string {
  return txid === 0n ? '' : formatTxid(txid)
}

/** Whether a directory is a backup: it has these in it. */
export function isBackup(layout: 'hex' | 'ltx', directories: readonly string[]): boolean {
  return directories.some((name) => (layout === 'hex' ? /^000[0-9]$/.test(name) : name === 'ltx'))
}

/** The range in a file's name; undefined for what is no file of a backup. */
export function rangeOf(level: number, name: string): FileRange | undefined {
  const range = parseLtxName(name)
  return range && { level, ...range }
}

/** Whether it says where a backup is, and is no database's name. */
export function isStorageUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text)
}
