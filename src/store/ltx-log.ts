import assert from 'node:assert/strict'
import path from 'node:path'
import type { LtxSink } from '../db/ltx-spool.js'
import type { Log } from '../log.js'
import { syncFileSystem } from '../native.js'
import { dataOf, encodeRecord, type RecordKind, recordSize, retiredThrough } from './ltx-log-record.js'
import type { LogSegment } from './ltx-log-segment.js'
import { LtxWriter } from './ltx-writer.js'
import { Slab } from './slab.js'
import { SpareFiles } from './spare-files.js'

/** How long a commit that did not ask for durability may wait for it, milliseconds (architecture.md, 3); not while a replica waits. */
const SYNC_DELAY_MS = 10
/** Sequence numbers left out at each start, so that no record behind a torn one can line up with new ones. */
const SEQUENCE_GAP = 1 << 20
const NOTHING = new Uint8Array(0)

/** Who is told what becomes of LTX files. It must not act on it at once: the commit that stores one is still under way. */
export interface LtxWatcher {
  /** An LTX file was stored; `data` stays valid, and is undefined for a large file, which is at its place. */
  stored(file: string, data: Uint8Array | undefined, sequence: number): void
  /** It never happened. */
  undone(file: string): void
  /** Everything up to this sequence number is on disk. */
  durable(sequence: number): void
  /** Somebody waits for transactions to become durable, whatever their applications asked for. */
  readonly isPrompt: boolean
}

/**
 * The redo log of a node's LTX files. A commit appends its LTX file here: one write into space that is reserved, and at FULL one
 * fdatasync that changes no metadata. The files themselves are written in the background, and a segment is used again only when every
 * file in it is on disk. A crash in between loses nothing: the next start writes them from the log.
 */
export class LtxLog implements LtxSink {
  readonly spares: SpareFiles
  readonly #dataDir: string
  readonly #log: Log
  readonly #watcher: LtxWatcher
  readonly #segments: readonly [LogSegment, LogSegment]
  readonly #writer: LtxWriter
  readonly #slab = new Slab()
  readonly #allocate = (length: number) => this.#slab.take(length)
  #current: LogSegment
  /** Files that never happened and of which the log could not be told yet. */
  readonly #owed: string[] = []
  #sequence: number
  #synced: number
  #timer: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  #syncing: Promise<void> | undefined
  #freeing: Promise<void> | undefined
  #failing = false

  /** `sequence` is the last one in the log, everything up to which is on disk (see replayLtxLog). Throws a system error. */
  constructor(
    dataDir: string,
    log: Log,
    segments: readonly [LogSegment, LogSegment],
    sequence: number,
    watcher: LtxWatcher,
  ) {
    this.#dataDir = dataDir
    this.#log = log
    this.#watcher = watcher
    this.#segments = segments
    this.spares = new SpareFiles(path.join(dataDir, 'ltxlog', 'spare'))
    this.#writer = new LtxWriter(log, this.spares, () => this.#freeOther())
    this.#current = segments[0]
    this.#current.restart()
    this.#sequence = sequence + SEQUENCE_GAP
    this.#synced = this.#sequence
    this.#retire(sequence)
    this.sync(this.#sequence)
  }

  append(file: string, data: Uint8Array): number {
    const relative = this.#relative(file)
    const record = this.#put('ltx', relative, data)
    const kept = dataOf(record, relative, data.length)
    this.#writer.add(file, kept, this.#sequence)
    this.#watcher.stored(file, kept, this.#sequence)
    return this.#sequence
  }

  adopt(file: string): number {
    this.#put('file', this.#relative(file), NOTHING)
    this.#writer.forget(file)
    this.#watcher.stored(file, undefined, this.#sequence)
    return this.#sequence
  }

  undo(file: string): void {
    // Not only when the log takes the record: the file would be written after all, and the next start would go by it.
    this.#writer.remove(file)
    this.#watcher.undone(file)
    this.#owed.push(this.#relative(file))
    this.#writeOwed()
  }

  sync(sequence: number): void {
    if (sequence <= this.#synced) return
    this.#writeOwed()
    this.#syncCurrent()
  }

  /** Resolves when every LTX file stored so far is at its place. Rejects when that cannot be. */
  async flush(): Promise<void> {
    await this.#writer.drain()
  }

  /** Resolves when every LTX file is on disk by itself. Rejects when that cannot be. */
  async settle(): Promise<void> {
    await this.#syncing
    await this.#freeing
    const newest = this.#sequence
    await this.#writer.drain()
    await syncFileSystem(this.#current.fd)
    this.#retire(newest)
    this.sync(this.#sequence)
  }

  /** Settles and closes the segments. */
  async close(): Promise<void> {
    try {
      await this.settle()
    } finally {
      clearTimeout(this.#timer)
      clearImmediate(this.#immediate)
      await this.#syncing
      await this.#freeing
      for (const segment of this.#segments) segment.close()
    }
  }

  #relative(file: string): string {
    assert(file.startsWith(this.#dataDir), 'LTX files lie below the data directory')
    return file.slice(this.#dataDir.length + 1)
  }

  /** Throws a system error; what the log has not taken yet comes before the next record. */
  #writeOwed(): void {
    for (let relative = this.#owed[0]; relative !== undefined; relative = this.#owed[0]) {
      this.#append('undo', relative, NOTHING)
      this.#owed.shift()
    }
  }

  #put(kind: RecordKind, relative: string, data: Uint8Array): Buffer {
    this.#writeOwed()
    return this.#append(kind, relative, data)
  }

  /** Appends a record and returns its bytes. Throws a system error; the log is then as before. */
  #append(kind: RecordKind, relative: string, data: Uint8Array): Buffer {
    const length = recordSize(relative, data.length)
    if (!this.#current.hasRoom(length)) this.#switchSegment(length)
    const sequence = this.#sequence + 1
    const record = encodeRecord({ kind, sequence, path: relative, data }, this.#allocate)
    this.#current.append(record, sequence)
    this.#sequence = sequence
    this.#scheduleSync()
    return record
  }

  /** Everything that the log has is on disk when it returns. Throws a system error. */
  #syncCurrent(): void {
    const newest = this.#sequence
    this.#current.sync()
    this.#synced = newest
    this.#watcher.durable(newest)
  }

  /** Goes on in the other segment when it is free, else in this one past its usual size. */
  #switchSegment(length: number): void {
    const other = this.#other()
    if (other.inUse) {
      if (this.#current.canGrow(length, this.#writer.failing)) return
      const message = 'Cannot store LTX file: the LTX log is full of files that cannot be written'
      throw Object.assign(new Error(message), { code: 'ENOSPC' })
    }
    // Without what it is still owed: that may be what there is no room for.
    if (this.#synced < this.#sequence) this.#syncCurrent()
    other.restart()
    this.#current = other
  }

  #other(): LogSegment {
    return this.#current === this.#segments[0] ? this.#segments[1] : this.#segments[0]
  }

  #retire(sequence: number): void {
    this.#put('retired', '', retiredThrough(sequence))
  }

  #scheduleSync(): void {
    if (this.#syncing !== undefined || this.#immediate !== undefined) return
    if (this.#watcher.isPrompt) this.#immediate = setImmediate(() => this.#syncNow())
    else this.#timer ??= setTimeout(() => this.#syncNow(), SYNC_DELAY_MS)
  }

  #syncNow(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#immediate = undefined
    if (this.#syncing !== undefined || this.#synced >= this.#sequence) return
    this.#syncing = this.#syncLater().finally(() => {
      this.#syncing = undefined
      if (this.#synced < this.#sequence) this.#scheduleSync()
    })
  }

  /** Never rejects: a commit that waits for the disk hears of a failure itself. */
  async #syncLater(): Promise<void> {
    const newest = this.#sequence
    try {
      await this.#current.syncLater()
      this.#synced = Math.max(this.#synced, newest)
      this.#watcher.durable(this.#synced)
      this.#failing = false
    } catch (error) {
      if (!this.#failing) this.#log.error(`cannot bring the LTX log to the disk: ${(error as Error).message}`)
      this.#failing = true
    }
  }

  /** Once the files of the full segment are written: brings them to the disk, so that the segment can be used again. */
  #freeOther(): void {
    const full = this.#other()
    if (this.#freeing !== undefined || !full.inUse || this.#writer.oldest <= full.lastSequence) return
    this.#freeing = syncFileSystem(full.fd)
      .then(() => full.free())
      .catch((error: Error) => this.#log.error(`cannot bring LTX files to the disk: ${error.message}`))
      .finally(() => {
        this.#freeing = undefined
      })
  }
}
