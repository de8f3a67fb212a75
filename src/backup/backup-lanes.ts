import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../log.js'
import { lacksFullCopy } from './backup-head.js'
import type { BackupPath } from './backup-path.js'
import { ConflictError, DatabaseBackup } from './database-backup.js'
import { Maintenance } from './maintenance.js'
import type { FileRange } from './replica-layout.js'
import type { BackupSource } from './source.js'
import { Troubles } from './troubles.js'
import type { Turns } from './turns.js'

/** All in milliseconds. */
export interface BackupTimes {
  readonly syncIntervalMs: number
  readonly snapshotIntervalMs: number
  readonly snapshotRetentionMs: number
  /** Of level 1, 2 and so on. */
  readonly levelIntervalsMs: readonly number[]
  /** 0 keeps uploads like the other levels. */
  readonly uploadRetentionMs: number
  readonly uploadRetentionCheckMs: number
  /** Whether anything is removed. */
  readonly removes: boolean
}

export interface LaneParts {
  readonly name: string
  readonly source: BackupSource
  readonly path: BackupPath
  readonly temporaryDir: string
  readonly log: Log
  /** Ends both lanes. */
  readonly signal: AbortSignal
  readonly uploadTurns: Turns
  readonly maintenanceTurns: Turns
  /** Whether this node is the one that backs up. */
  readonly mayWrite: () => boolean
  /** The backup has everything up to this TXID of the database. */
  readonly onBackedUp: (name: string, txid: bigint) => void
}

/** How the backup of one database is doing. */
export interface BackupStatus {
  readonly name: string
  /** How long the oldest transaction that it lacks has been there, milliseconds. */
  readonly lagMs: number
  /** Since the start. */
  readonly writtenBytes: number
  readonly errorCount: number
  /** Wall clock, milliseconds; 0 when there was none. */
  readonly lastSuccessMs: number
  /** The last TXID of the database that it has; undefined before it was looked at. */
  readonly txid: bigint | undefined
  /** What is wrong now. */
  readonly error: string | undefined
}

/** Pause after somebody else was found writing: one of the two should have noticed by then that it is not the primary. */
const CONFLICT_PAUSE_MS = 10_000
/** Shortest pause until it is asked again whether this node is the one that backs up. */
const LEASE_PAUSE_MS = 100
/** Longest pause between two looks for expired snapshots. */
const RETENTION_CHECK_MS = 3_600_000
/** How long the last uploads are tried at the end, and how often, milliseconds (Litestream's shutdown-sync-timeout and -interval). */
const LAST_UPLOADS_MS = 30_000
const LAST_UPLOADS_PAUSE_MS = 500

interface Task {
  readonly intervalMs: number
  readonly troubles: Troubles
  dueMs: number
  run(): Promise<void>
}

/** The backup of one database: one lane uploads what is new, the other merges, copies and removes, so that neither waits for the other. */
export class BackupLanes {
  readonly #parts: LaneParts
  readonly #times: BackupTimes
  readonly #backup: DatabaseBackup
  readonly #maintenance: Maintenance
  readonly #uploadTroubles: Troubles
  readonly #tasks: readonly Task[]
  /** Levels that may have something which the next one lacks. */
  readonly #news = new Set<number>()
  /** Since the last snapshot. */
  #hasNewUploads = true
  #hasUploadsToRemove = true
  /** The page size has changed; undefined while it is not known whether another run left that. */
  #needsSnapshot: boolean | undefined
  #hasLooked = false
  #pendingSinceMs: number | undefined
  #wake = () => {}
  #writtenBytes = 0
  #lastSuccessMs = 0
  #ended: Promise<unknown> = Promise.resolve()

  constructor(parts: LaneParts, times: BackupTimes) {
    const { name, log } = parts
    const onWritten = (file: FileRange, bytes: number) => {
      this.#writtenBytes += bytes
      this.#news.add(file.level)
      if (file.level === 0) this.#hasNewUploads = true
      if (file.level <= 1) this.#hasUploadsToRemove = true
    }
    this.#parts = parts
    this.#times = times
    this.#backup = new DatabaseBackup({ ...parts, onWritten })
    this.#maintenance = new Maintenance({ ...parts, onWritten })
    this.#uploadTroubles = new Troubles(`backup of ${name}`, log)
    this.#tasks = this.#makeTasks()
    // What another run left.
    for (const level of times.levelIntervalsMs.keys()) this.#news.add(level)
  }

  get status(): BackupStatus {
    const troubles = [this.#uploadTroubles, ...this.#tasks.map((task) => task.troubles)]
    return {
      name: this.#parts.name,
      lagMs: this.#pendingSinceMs === undefined ? 0 : Date.now() - this.#pendingSinceMs,
      writtenBytes: this.#writtenBytes,
      errorCount: troubles.reduce((sum, { count }) => sum + count, 0),
      lastSuccessMs: this.#lastSuccessMs,
      txid: this.#backup.backedUp?.txid,
      error: troubles.map(({ current }) => current).find((message) => message !== undefined),
    }
  }

  /** The database has a new position. */
  changed(): void {
    this.#pendingSinceMs ??= Date.now()
    this.#wake()
  }

  start(): void {
    // Once for all waits: a listener each would be kept as long as the signal.
    this.#parts.signal.addEventListener('abort', () => this.#wake(), { once: true })
    this.changed()
    this.#ended = Promise.all([this.#upload(), this.#maintain()])
  }

  /** Resolves when nothing is written any more; the signal must be aborted. With `flush` what is new is uploaded first, if that can be done soon. */
  async close(flush: boolean): Promise<void> {
    const { name, log } = this.#parts
    const deadline = Date.now() + LAST_UPLOADS_MS
    // What is under way has limits of its own, but may be large.
    if ((await Promise.race([this.#ended, delay(LAST_UPLOADS_MS, 'late', { ref: false })])) === 'late') {
      log.error(`the backup of ${name} is cut off: what it is writing takes too long`)
      return
    }
    while (flush && !this.#backup.isCurrent) {
      try {
        await this.#sync()
      } catch (error) {
        if (Date.now() < deadline && !(error instanceof ConflictError)) {
          await delay(LAST_UPLOADS_PAUSE_MS)
          continue
        }
        log.error(`the last transactions of ${name} are not in its backup`, { error })
        return
      }
    }
  }

  async #upload(): Promise<void> {
    const { signal, mayWrite } = this.#parts
    let pauseMs = 0
    while (await this.#rested(pauseMs, signal)) {
      if (this.#backup.isCurrent) await this.#somethingNew(signal)
      if (!mayWrite()) {
        pauseMs = Math.max(this.#times.syncIntervalMs, LEASE_PAUSE_MS)
        continue
      }
      try {
        await this.#sync()
        pauseMs = this.#times.syncIntervalMs
      } catch (error) {
        const leastMs = error instanceof ConflictError ? CONFLICT_PAUSE_MS : this.#times.syncIntervalMs
        pauseMs = this.#uploadTroubles.failed(error, leastMs)
      }
    }
  }

  async #sync(): Promise<void> {
    const startMs = Date.now()
    const { uploadTurns, name, path, onBackedUp } = this.#parts
    this.#needsSnapshot ??= await uploadTurns.take(() => lacksFullCopy(path))
    // A failure on the way to the snapshot must not make it forgotten.
    if (await uploadTurns.take(() => this.#backup.sync())) this.#needsSnapshot = true
    this.#pendingSinceMs = this.#backup.isCurrent ? undefined : startMs
    this.#lastSuccessMs = Date.now()
    this.#uploadTroubles.succeeded()
    const { backedUp } = this.#backup
    if (backedUp !== undefined) onBackedUp(name, backedUp.txid)
    // Litestream merges files of one page size only: it needs a snapshot to begin with.
    if (this.#needsSnapshot) await this.#snapshot()
  }

  async #maintain(): Promise<void> {
    const { signal, maintenanceTurns } = this.#parts
    for (;;) {
      const dueMs = Math.min(...this.#tasks.map((task) => task.dueMs))
      if (!(await this.#rested(dueMs - Date.now(), signal))) return
      for (const task of this.#tasks.filter((task) => task.dueMs <= Date.now())) {
        try {
          if (signal.aborted) return
          await maintenanceTurns.take(() => task.run())
          // Ticks are those of the clock, as Litestream's.
          task.dueMs = nextTick(task.intervalMs)
          task.troubles.succeeded()
        } catch (error) {
          if (signal.aborted) return
          task.dueMs = Date.now() + task.troubles.failed(error)
        }
      }
    }
  }

  #makeTasks(): Task[] {
    const { levelIntervalsMs, uploadRetentionMs, uploadRetentionCheckMs } = this.#times
    const { snapshotIntervalMs, snapshotRetentionMs, removes } = this.#times
    const { name, log } = this.#parts
    // What keeps failing is said whatever else succeeds.
    const task = (what: string, intervalMs: number, run: () => Promise<void>): Task => {
      return {
        intervalMs,
        dueMs: nextTick(intervalMs),
        run,
        troubles: new Troubles(`${what} the backup of ${name}`, log),
      }
    }
    const tasks = levelIntervalsMs.map((intervalMs, index) => {
      return task(`compaction to level ${index + 1} of`, intervalMs, () => this.#compact(index + 1))
    })
    tasks.push({ ...task('a full copy for', snapshotIntervalMs, () => this.#snapshotIfDue()), dueMs: 0 })
    if (removes) {
      const checkMs = Math.min(snapshotIntervalMs, RETENTION_CHECK_MS)
      const remove = () => this.#maintenance.removeSnapshots(Date.now() - snapshotRetentionMs)
      tasks.push(task('removal of full copies from', checkMs, remove))
    }
    if (removes && uploadRetentionMs > 0 && levelIntervalsMs.length > 0) {
      tasks.push(task('removal of uploads from', uploadRetentionCheckMs, () => this.#removeUploads()))
    }
    return tasks
  }

  async #compact(level: number): Promise<void> {
    // What comes meanwhile is for the next tick.
    if (!this.#news.delete(level - 1)) return
    try {
      if ((await this.#maintenance.compact(level)) === 'all') return
      await this.#snapshot()
    } catch (error) {
      this.#news.add(level - 1)
      throw error
    }
    this.#news.add(level - 1)
  }

  async #snapshot(): Promise<void> {
    await this.#backup.snapshot()
    this.#hasNewUploads = false
    this.#needsSnapshot = false
  }

  /** Another run may have taken one just now, or none for too long. */
  async #snapshotIfDue(): Promise<void> {
    if (!this.#hasNewUploads) return
    const isFirst = !this.#hasLooked
    // The first upload is a full copy itself. Who never runs at the time of a tick needs another one all the same.
    const beganMs = async () => (isFirst ? ((await this.#maintenance.beginningMs()) ?? Date.now()) : 0)
    const newestMs = (await this.#maintenance.newestSnapshotMs()) ?? (await beganMs())
    this.#hasLooked = true
    const { snapshotIntervalMs } = this.#times
    // The time of one that is newer than now is of a clock that was wrong: as if it were that old.
    const ageMs = Math.abs(Date.now() - newestMs)
    if (ageMs > (isFirst ? snapshotIntervalMs : snapshotIntervalMs / 2)) await this.#snapshot()
  }

  async #removeUploads(): Promise<void> {
    if (!this.#hasUploadsToRemove) return
    this.#hasUploadsToRemove = await this.#maintenance.removeUploads(Date.now() - this.#times.uploadRetentionMs)
  }

  async #somethingNew(signal: AbortSignal): Promise<void> {
    if (this.#pendingSinceMs !== undefined || signal.aborted) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
  }

  /** False when it is to end. */
  async #rested(pauseMs: number, signal: AbortSignal): Promise<boolean> {
    if (pauseMs > 0) await delay(pauseMs, undefined, { signal, ref: false }).catch(() => {})
    return !signal.aborted
  }
}

function nextTick(intervalMs: number): number {
  return (Math.floor(Date.now() / intervalMs) + 1) * intervalMs
}
