// Which files are merged and which are removed: Litestream's rules.
import t from 'tap'
import { expiredBelow, expiredSnapshots, expiredUploads, planCompaction } from '../../src/backup/compaction-plan.js'
import type { BackupFile } from '../../src/backup/replica-layout.js'
import { planRestore } from '../../src/backup/restore-plan.js'

function file(level: number, minTxid: number, maxTxid: number, timeMs = maxTxid * 1000): BackupFile {
  return { level, minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid), size: 200, timeMs }
}

const uploads = [1, 2, 3, 4, 5, 6, 7, 8].map((txid) => file(0, txid, txid))

t.test('a compaction takes consecutive files that the higher level lacks', async (t) => {
  const { inputs, gapBefore } = planCompaction(uploads, [file(1, 1, 3)], 0n)
  t.strictSame(inputs, uploads.slice(3))
  t.equal(gapBefore, undefined)
  t.strictSame(planCompaction(uploads, [file(1, 1, 8)], 0n).inputs, [])
  t.strictSame(planCompaction([file(1, 1, 3), file(1, 4, 9)], [file(2, 1, 5)], 0n).inputs, [file(1, 4, 9)], 'overlap')
  const gap = [file(0, 1, 1), file(0, 2, 2), file(0, 5, 5)]
  t.strictSame(planCompaction(gap, [], 0n).inputs, gap.slice(0, 2), 'up to a gap')
  t.strictSame(planCompaction(gap, [file(1, 1, 2)], 3n), { inputs: [], gapBefore: 5n })
  t.strictSame(planCompaction(gap, [file(1, 1, 2)], 4n).inputs, gap.slice(2), 'over a gap that a snapshot covers')
})

t.test('every point within the retention can be restored, at any time of the day', async (t) => {
  const HOUR_MS = 3_600_000
  const hours = Array.from({ length: 73 }, (_, hour) => hour)
  // A transaction in the middle of each hour, and a snapshot at the end of each day.
  const merged = hours.slice(1).map((hour) => file(3, hour, hour, (hour - 0.5) * HOUR_MS))
  const snapshots = [0, 24, 48, 72].map((hour) => file(9, 1, Math.max(hour, 1), hour * HOUR_MS))
  for (const now of hours.slice(24)) {
    const beforeMs = (now - 24) * HOUR_MS
    const isThere = ({ timeMs }: BackupFile) => timeMs <= now * HOUR_MS
    const { expired, floor } = expiredSnapshots(snapshots.filter(isThere), beforeMs)
    const gone = [...expired, ...expiredBelow(merged.filter(isThere), floor)]
    const left = [...snapshots, ...merged].filter((one) => isThere(one) && !gone.includes(one))
    for (let point = now - 23; point <= now; point++) {
      const end = planRestore(left, { txid: undefined, beforeMs: point * HOUR_MS }).at(-1)?.maxTxid
      t.equal(end, BigInt(point), `hour ${point}, asked in hour ${now}`)
    }
  }
})

t.test('retention leaves whatever a restore may be reading', async (t) => {
  const snapshots = [file(9, 1, 10), file(9, 1, 20), file(9, 1, 30)]
  t.strictSame(expiredSnapshots(snapshots, 25_000), { expired: snapshots.slice(0, 1), floor: 10n })
  t.strictSame(expiredSnapshots(snapshots, 15_000), { expired: [], floor: 0n })
  t.strictSame(expiredSnapshots(snapshots, 5000), { expired: [], floor: 0n })
  const future = [file(9, 1, 10, 10_000), file(9, 1, 20, 1e15), file(9, 1, 30, 30_000), file(9, 1, 40, 40_000)]
  t.strictSame(expiredSnapshots(future, 35_000), { expired: future.slice(0, 2), floor: 20n }, 'of a wrong clock')
  t.strictSame(expiredSnapshots(snapshots, 99_000), { expired: snapshots.slice(0, 2), floor: 20n }, 'the newest stays')
  t.strictSame(expiredSnapshots([], 99_000), { expired: [], floor: 0n })
  t.strictSame(expiredBelow([file(1, 1, 9), file(1, 10, 19), file(1, 20, 29)], 20n), [file(1, 1, 9), file(1, 10, 19)])
  t.strictSame(expiredBelow([file(1, 1, 9)], 20n), [], 'the newest of each level stays')
  t.strictSame(expiredUploads(uploads, [file(1, 1, 5)], 4000), uploads.slice(0, 3))
  t.strictSame(expiredUploads(uploads, [file(1, 1, 2)], 99_000), uploads.slice(0, 2))
  t.strictSame(
    expiredUploads(uploads, [file(1, 1, 8)], 99_000),
    uploads.slice(0, 7),
    'the newest tells where it stands',
  )
})
