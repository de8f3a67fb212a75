import fs from 'node:fs/promises'
import path from 'node:path'
import { openLtxFile } from '../db/ltx-file.js'
import { openMergeOf } from '../db/ltx-merge.js'
import type { Log } from '../log.js'
import { LtxError } from '../ltx/error.js'
import type { BackupPath } from './backup-path.js'
import { expiredBelow, expiredSnapshots, expiredUploads, planCompaction } from './compaction-plan.js'
import { download } from './download.js'
import { type BackupFile, type FileRange, LEVELS, SNAPSHOT_LEVEL } from './replica-layout.js'
import { inParallel } from './storage.js'
import { counted, encoded, readThrough } from './upload-body.js'

/** Files that are fetched at once. */
const PARALLEL_DOWNLOADS = 4
/** Files that one merge takes at most. */
const MAX_INPUTS = 4096

export interface MaintenanceParts {
  readonly path: BackupPath
  readonly temporaryDir: string
  readonly log: Log
  readonly signal: AbortSignal
  /** Told of each file that was written. */
  readonly onWritten: (file: FileRange, bytes: number) => void
}

/** Merges and removes files of one backup. Whoever does it twice, or at the same time as another, does the same: what a file has is told by its name. */
export class Maintenance {
  readonly #parts: MaintenanceParts
  /** By level, files that cannot be read: the merges go on after them. */
  readonly #damaged = new Map<number, bigint>()

  constructor(parts: MaintenanceParts) {
    this.#parts = parts
  }

  /**
   * Merges what a level does not have yet of the level below. Resolves to `gap` when files are missing or damaged: once a snapshot has what was in
   * them, it can go on. Rejects with StorageError and system errors.
   */
  async compact(level: number): Promise<'all' | 'gap'> {
    const { path } = this.#parts
    const [higher, snapshots] = await Promise.all([path.files(level), path.files(SNAPSHOT_LEVEL)])
    const start = higher.reduce((end, file) => (file.maxTxid > end ? file.maxTxid : end), 0n)
    const readable = this.#damaged.get(level - 1) ?? 0n
    const lower = (await path.files(level - 1)).filter(({ maxTxid }) => maxTxid > start && maxTxid > readable)
    const { inputs, gapBefore } = planCompaction(lower, higher, snapshots.at(-1)?.maxTxid ?? 0n)
    if (gapBefore !== undefined) return 'gap'
    for (let at = 0; at < inputs.length; at += MAX_INPUTS) {
      if (!(await this.#merge(level, inputs.slice(at, at + MAX_INPUTS)))) return 'gap'
    }
    return 'all'
  }

  /** Removes uploads that are older than `beforeMs` and in level 1, too. Resolves to whether others will expire later. */
  async removeUploads(beforeMs: number): Promise<boolean> {
    const { path } = this.#parts
    const [uploads, level1] = await Promise.all([path.files(0), path.files(1)])
    const expired = expiredUploads(uploads, level1, beforeMs)
    await path.remove(expired)
    return uploads.length - expired.length > 1
  }

  /** Removes snapshots that are older than `beforeMs`, and what only led on from them. */
  async removeSnapshots(beforeMs: number): Promise<void> {
    const { path } = this.#parts
    const { expired, floor } = expiredSnapshots(await path.files(SNAPSHOT_LEVEL), beforeMs)
    await path.remove(expired)
    if (floor === 0n) return
    for (const level of LEVELS.filter((level) => level !== SNAPSHOT_LEVEL)) {
      await path.remove(expiredBelow(await path.files(level), floor))
    }
  }

  /** When the newest snapshot was written, milliseconds since the epoch. */
  async newestSnapshotMs(): Promise<number | undefined> {
    return (await this.#parts.path.files(SNAPSHOT_LEVEL)).at(-1)?.timeMs
  }

  /** When the backup began, milliseconds since the epoch: the time of the oldest file that needs nothing before it. */
  async beginningMs(): Promise<number | undefined> {
    const times = (await this.#parts.path.allFiles(false)).flatMap(({ minTxid, timeMs }) =>
      minTxid === 1n ? [timeMs] : [],
    )
    return times.length === 0 ? undefined : Math.min(...times)
  }

  /** False when one of them is damaged; those before it are merged. */
  async #merge(level: number, inputs: readonly BackupFile[]): Promise<boolean> {
    const { temporaryDir, path: from, signal } = this.#parts
    const directory = await fs.mkdtemp(path.join(temporaryDir, 'compaction-'))
    try {
      const files = inputs.map((file, index) => ({ file, target: path.join(directory, `${index}.ltx`) }))
      await inParallel(files, PARALLEL_DOWNLOADS, ({ file, target }) => {
        return download(from, file, target, { signal, onBytes: () => {} })
      })
      const good = await this.#readable(files)
      if (good.length > 0) await this.#write(level, good, directory)
      return good.length === files.length
    } finally {
      await fs.rm(directory, { recursive: true, force: true })
    }
  }

  /** Those before the first that is damaged. */
  async #readable<T extends { readonly file: BackupFile; readonly target: string }>(files: readonly T[]): Promise<T[]> {
    const good: T[] = []
    for (const entry of files) {
      const { file, target } = entry
      const { path: from, log } = this.#parts
      try {
        const open = openLtxFile(target)
        try {
          const { minTxid, maxTxid } = open.reader.header
          if (minTxid !== file.minTxid || maxTxid !== file.maxTxid) throw new LtxError('it has other transactions')
          await readThrough(open.reader)
        } finally {
          open.close()
        }
      } catch (error) {
        if (!(error instanceof LtxError)) throw error
        const reason = error.cause instanceof LtxError ? error.cause.message : error.message
        log.error(`${from.urlOf(file)} is damaged, a full copy takes its place: ${reason}`)
        this.#damaged.set(file.level, file.maxTxid)
        return good
      }
      good.push(entry)
    }
    return good
  }

  async #write(
    level: number,
    files: readonly { readonly file: BackupFile; readonly target: string }[],
    directory: string,
  ): Promise<void> {
    const { path: to, signal, onWritten } = this.#parts
    const merge = await openMergeOf(
      files.map(
        ({ target }) =>
          () =>
            openLtxFile(target),
      ),
      directory,
      { overlapping: true },
    )
    try {
      const { minTxid, maxTxid, timestamp } = merge.reader.header
      const file = { level, minTxid, maxTxid }
      const sizeHint = files.reduce((sum, { file: { size } }) => sum + size, 0)
      const { chunks, count } = counted(encoded(merge.reader), signal)
      await to.write(file, chunks, timestamp, sizeHint)
      onWritten(file, count())
    } finally {
      merge.close()
    }
  }
}
