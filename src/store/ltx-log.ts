import fs from 'node:fs'
import path from 'node:path'
import { getSystemErrorName } from 'node:util'
import type { LtxSink } from '../db/ltx-spool.js'
import type { Log } from '../log.js'
import { syncFileSystem, writeFiles } from '../native.js'
import { encodeRecord, type RecordKind, recordSize, retiredThrough } from './ltx-log-record.js'
import type { LogSegment } from './ltx-log-segment.js'

/** How long a commit that did not ask for durability may wait for it, milliseconds (architecture.md, 3). */
const SYNC_DELAY_MS = 10
/** Pause before files that could not be written are tried again, milliseconds. */
const RETRY_DELAY_MS = 1000
/** Files that one background write takes on. */
const BATCH_FILES = 256
/** Waiting files from which on commits help to write them, so that a slow disk slows the writers down instead of filling the memory. */
const BACKLOG_FILES = 4096
const NOTHING = new Uint8Array(0)

/**
 * The redo log of a node's LTX files. A commit appends its LTX file here: one write into space that is reserved, and at FULL one
 * fdatasync that changes no metadata. The files themselves are written in the background, and a segment is used again only when every
 * file in it is on disk. A crash in between loses nothing: the next start writes them from the log.
 */
export class LtxLog implements LtxSink {
  readonly #dataDir: string
  readonly #log: Log
  readonly #segments: readonly [LogSegment, LogSegment]
  #current: LogSegment
  #sequence: number
  #synced: number
  /** Files that are only in the log so far, oldest first. */
  readonly #pending = new Map<string, Uint8Array>()
  /** Files that are being written now, and those of them that were undone meanwhile. */
  #inFlight: ReadonlyMap<string, Uint8Array> = new Map()
  readonly #undoneInFlight = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #background: Promise<void> | undefined
  #failing = false

  /** `sequence` is the last one in the log, everything up to which is on disk (see replayLtxLog). Throws a system error. */
  constructor(dataDir: string, log: Log, segments: readonly [LogSegment, LogSegment], sequence: number) {
    this.#dataDir = dataDir
    this.#log = log
    this.#segments = segments
    this.#current = segments[0]
    this.#current.restart()
    this.#sequence = sequence
    this.#synced = sequence
    this.#retire(sequence)
    this.sync(this.#sequence)
  }

  append(file: string, data: Uint8Array): number {
    if (this.#pending.size >= BACKLOG_FILES && !this.#failing) this.#helpWriting()
    const sequence = this.#put('ltx', this.#relative(file), data)
    this.#pending.delete(file)
    this.#pending.set(file, data)
    this.#undoneInFlight.delete(file)
    return sequence
  }

  adopt(file: string): number {
    this.#pending.delete(file)
    return this.#put('file', this.#relative(file), NOTHING)
  }

  undo(file: string): void {
    this.#put('undo', this.#relative(file), NOTHING)
    this.#pending.delete(file)
    if (this.#inFlight.has(file)) this.#undoneInFlight.add(file)
    else fs.rmSync(file, { force: true })
  }

  sync(sequence: number): void {
    if (sequence <= this.#synced) return
    const newest = this.#sequence
    this.#current.sync()
    this.#synced = newest
  }

  /** Resolves when every LTX file is on disk by itself. Rejects when that cannot be. */
  async settle(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#background !== undefined) await this.#background
    const newest = this.#sequence
    do await this.#round()
    while (this.#pending.size > 0 && !this.#failing)
    if (this.#pending.size > 0) throw new Error(`Cannot write ${this.#pending.size} LTX files; they stay in the log`)
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
      for (const segment of this.#segments) segment.close()
    }
  }

  #relative(file: string): string {
    return path.relative(this.#dataDir, file)
  }

  #put(kind: RecordKind, relative: string, data: Uint8Array): number {
    const length = recordSize(relative, data.length)
    if (!this.#current.hasRoom(length)) this.#switchSegment(length)
    const sequence = this.#sequence + 1
    this.#current.append(encodeRecord({ kind, sequence, path: relative, data }))
    if (kind === 'ltx' || kind === 'file') this.#current.files.add(path.join(this.#dataDir, relative))
    this.#sequence = sequence
    this.#schedule()
    return sequence
  }

  /** Goes on in the other segment when it is free, else in this one past its usual size. */
  #switchSegment(length: number): void {
    const other = this.#other()
    if (other.files.size > 0) {
      if (this.#current.canGrow(length)) return
      throw Object.assign(new Error('Cannot store LTX file: the LTX log is full of files that cannot be written'), {
        code: 'ENOSPC',
      })
    }
    this.sync(this.#sequence)
    other.restart()
    this.#current = other
  }

  #other(): LogSegment {
    return this.#current === this.#segments[0] ? this.#segments[1] : this.#segments[0]
  }

  #retire(sequence: number): void {
    this.#put('retired', '', retiredThrough(sequence))
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#background !== undefined) return
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        this.#background = this.#round().finally(() => {
          this.#background = undefined
          if (this.#pending.size > 0) this.#schedule()
        })
      },
      this.#failing ? RETRY_DELAY_MS : SYNC_DELAY_MS,
    )
  }

  /** One round in the background: the log to the disk, waiting files to their places, the full segment retired. Never rejects. */
  async #round(): Promise<void> {
    try {
      const newest = this.#sequence
      await this.#current.syncLater()
      this.#synced = Math.max(this.#synced, newest)
      while (this.#pending.size > 0) await this.#writeBatch()
      await this.#freeOther()
      if (this.#failing) this.#log.info('LTX files are written again')
      this.#failing = false
    } catch (error) {
      if (!this.#failing) this.#log.error(`${(error as Error).message}; they stay in the log and are tried again`)
      this.#failing = true
    }
  }

  async #freeOther(): Promise<void> {
    const full = this.#other()
    const { files } = full
    if (files.size === 0 || [...files].some((file) => this.#pending.has(file))) return
    await syncFileSystem(full.fd)
    if (full.files === files && full !== this.#current) full.files = new Set()
  }

  /** Writes some waiting files. Files that cannot be written wait on, and the error is thrown. */
  async #writeBatch(): Promise<void> {
    const batch = new Map([...this.#pending].slice(0, BATCH_FILES))
    for (const file of batch.keys()) this.#pending.delete(file)
    this.#inFlight = batch
    const results = await writeFiles([...batch].map(([file, data]) => ({ path: file, data })))
    this.#inFlight = new Map()
    for (const file of this.#undoneInFlight) if (!this.#pending.has(file)) fs.rmSync(file, { force: true })
    const failed = [...batch].filter(([file], i) => results[i] !== 0 && !this.#undoneInFlight.has(file))
    this.#undoneInFlight.clear()
    for (const [file, data] of failed) if (!this.#pending.has(file)) this.#pending.set(file, data)
    const [first] = failed
    if (first === undefined) return
    const errno = results.find((result) => result !== 0) ?? 0
    throw new Error(`Cannot write ${failed.length} LTX files, ${first[0]} among them: ${getSystemErrorName(-errno)}`)
  }

  #helpWriting(): void {
    for (const [file, data] of [...this.#pending].slice(0, BATCH_FILES)) {
      fs.writeFileSync(file, data)
      this.#pending.delete(file)
    }
  }
}
