import type { BackupFile } from './replica-layout.js'

/** What a compaction takes, or why it cannot. */
export interface CompactionPlan {
  /** Consecutive files of the lower level, oldest first; none when there is nothing to do. */
  readonly inputs: readonly BackupFile[]
  /** Files before this one are missing, and no snapshot has what was in them: one must be taken. */
  readonly gapBefore: bigint | undefined
}

/** What the higher level does not have yet. Both sorted by TXID; `snapshotTxid` is the newest snapshot's last, 0 without one. */
export function planCompaction(
  lower: readonly BackupFile[],
  higher: readonly BackupFile[],
  snapshotTxid: bigint,
): CompactionPlan {
  const end = maxTxid(higher)
  const inputs: BackupFile[] = []
  let next = end + 1n
  for (const file of lower) {
    if (file.maxTxid < next) continue
    if (file.minTxid > next) {
      // Whoever restores goes on from the snapshot.
      if (inputs.length > 0) break
      if (snapshotTxid + 1n < file.minTxid) return { inputs: [], gapBefore: file.minTxid }
    }
    inputs.push(file)
    next = file.maxTxid + 1n
  }
  return { inputs, gapBefore: undefined }
}

export interface SnapshotRetention {
  readonly expired: readonly BackupFile[]
  /**
   * Files of other levels that end before this TXID are needed no more. It is the end of the snapshot before the oldest that is kept, for whoever
   * has just begun to restore from that.
   */
  readonly floor: bigint
}

/**
 * The snapshots before the newest that was written before `beforeMs`: every later point leads on from that one, or from one after it. (Litestream
 * removes that one too, and so what lies between it and the next.) `snapshots` sorted by TXID.
 */
export function expiredSnapshots(snapshots: readonly BackupFile[], beforeMs: number): SnapshotRetention {
  const oldestKept = snapshots.findLastIndex(({ timeMs }) => timeMs < beforeMs)
  const expired = snapshots.slice(0, Math.max(oldestKept, 0))
  return { expired, floor: expired.at(-1)?.maxTxid ?? 0n }
}

/** Files of a level that end before `floor`; its newest stays. `files` sorted by TXID. */
export function expiredBelow(files: readonly BackupFile[], floor: bigint): BackupFile[] {
  return files.slice(0, -1).filter((file) => file.maxTxid < floor)
}

/** Uploads older than `beforeMs` that level 1 has, too; the newest stays: it says where the backup stands. Both sorted by TXID. */
export function expiredUploads(
  uploads: readonly BackupFile[],
  level1: readonly BackupFile[],
  beforeMs: number,
): BackupFile[] {
  const end = maxTxid(level1)
  return uploads.slice(0, -1).filter(({ maxTxid, timeMs }) => maxTxid <= end && timeMs < beforeMs)
}

function maxTxid(files: readonly BackupFile[]): bigint {
  return files.reduce((end, file) => (file.maxTxid > end ? file.maxTxid : end), 0n)
}
