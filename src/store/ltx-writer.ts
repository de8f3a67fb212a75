import fs from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { getSystemErrorName } from 'node:util'
import type { Log } from '../log.js'
import { withdrawFile, writeFile, writeFiles } from '../native.js'
import type { SpareFiles } from './spare-files.js'

/** Files that one task on the thread pool takes on. */
const BATCH_FILES = 128
/**
 * Waiting bytes and files from which on a commit helps to write some, so that a slow disk slows the writers down: what waits is in memory,
 * and after a crash the next start has to write it first.
 */
const BACKLOG_BYTES = 32 << 20
const BACKLOG_FILES = 32_768
/** Files that such a commit writes. */
const HELP_FILES = 4
/** While commits keep coming, this many times the duration of a batch belongs to them before the next one; less once many files wait. */
const BUSY_PAUSES = 8
const BEHIND_PAUSES = 2
const BEHIND_FILES = 4096
/** Pause before files that could not be written are tried again, milliseconds. */
const RETRY_DELAY_MS = 1000

interface Waiting {
  readonly data: Uint8Array
  /** Of its record in the log. */
  readonly sequence: number
}

/**
 * Writes LTX files that are safe in the log to their places, in the background and in order. While commits keep coming it leaves most of
 * the time to them: the log can wait.
 */
export class LtxWriter {
  readonly #log: Log
  readonly #spares: SpareFiles
  readonly #onProgress: () => void
  /** Oldest first. */
  readonly #pending = new Map<string, Waiting>()
  #pendingBytes = 0
  /** Files that are being written now, and for each a mark that it was undone meanwhile. */
  #inFlight: ReadonlyMap<string, Waiting> = new Map()
  #withdrawn = new Uint32Array(0)
  #running: Promise<void> | undefined
  #draining = false
  #failing = false

  /** `onProgress` is told after each batch that was written. */
  constructor(log: Log, spares: SpareFiles, onProgress: () => void) {
    this.#log = log
    this.#spares = spares
    this.#onProgress = onProgress
  }

  /** The sequence number of the oldest record whose file is not written yet; Infinity when all are. */
  get oldest(): number {
    const [first] = this.#inFlight.size > 0 ? this.#inFlight.values() : this.#pending.values()
    return first?.sequence ?? Number.POSITIVE_INFINITY
  }

  /** Files could not be written lately. */
  get failing(): boolean {
    return this.#failing
  }

  get #backlogged(): boolean {
    return this.#pendingBytes >= BACKLOG_BYTES || this.#pending.size >= BACKLOG_FILES
  }

  add(file: string, data: Uint8Array, sequence: number): void {
    if (this.#backlogged && !this.#failing) this.#help()
    this.forget(file)
    this.#enqueue(file, { data, sequence })
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** The file is at its place by other means. */
  forget(file: string): void {
    const waiting = this.#pending.get(file)
    if (waiting === undefined) return
    this.#pending.delete(file)
    this.#pendingBytes -= waiting.data.length
  }

  /** The file must not exist. */
  remove(file: string): void {
    this.forget(file)
    const index = [...this.#inFlight.keys()].indexOf(file)
    if (index >= 0) withdrawFile(this.#withdrawn, index)
    fs.rmSync(file, { force: true })
  }

  /** Resolves when every file is written. Rejects with what prevents it. */
  async drain(): Promise<void> {
    this.#draining = true
    try {
      while (this.#pending.size > 0 || this.#inFlight.size > 0) {
        if (this.#inFlight.size > 0) await delay(1)
        else await this.#writeBatch()
      }
    } finally {
      this.#draining = false
    }
  }

  #enqueue(file: string, waiting: Waiting): void {
    this.#pending.set(file, waiting)
    this.#pendingBytes += waiting.data.length
  }

  /** Never rejects: what cannot be written stays in the log and is tried again. */
  async #run(): Promise<void> {
    while (this.#pending.size > 0 && !this.#draining) {
      const before = this.#pending.size
      const start = performance.now()
      try {
        await this.#writeBatch()
        if (this.#failing) this.#log.info('LTX files are written again')
        this.#failing = false
      } catch (error) {
        if (!this.#failing) this.#log.error(`${(error as Error).message}; they stay in the log and are tried again`)
        this.#failing = true
      }
      const busy = this.#pending.size + BATCH_FILES > before
      if (this.#failing) await delay(RETRY_DELAY_MS, undefined, { ref: false })
      else if (busy) {
        const pauses = this.#pending.size < BEHIND_FILES ? BUSY_PAUSES : BEHIND_PAUSES
        await delay(pauses * (performance.now() - start))
      }
    }
  }

  async #writeBatch(): Promise<void> {
    const batch = new Map<string, Waiting>()
    for (const [file, waiting] of this.#pending) {
      if (batch.size === BATCH_FILES) break
      batch.set(file, waiting)
    }
    for (const file of batch.keys()) this.forget(file)
    this.#inFlight = batch
    const withdrawn = new Uint32Array(batch.size)
    this.#withdrawn = withdrawn
    const files = [...batch].map(([path, { data }]) => ({ path, via: this.#spares.take(), data }))
    const results = await writeFiles(files, withdrawn)
    this.#inFlight = new Map()
    const errnos = results.map((errno, i) => (withdrawn[i] === 0 ? errno : 0))
    const failed = [...batch].filter((_, i) => errnos[i] !== 0)
    if (failed.length > 0) this.#takeBack(failed, errnos.find((errno) => errno !== 0) ?? 0)
    this.#onProgress()
  }

  /** Puts files that were not written in front of those that wait, and throws why. */
  #takeBack(failed: readonly (readonly [string, Waiting])[], errno: number): never {
    const later = new Map(this.#pending)
    this.#pending.clear()
    this.#pendingBytes = 0
    for (const [file, waiting] of failed) if (!later.has(file)) this.#enqueue(file, waiting)
    for (const [file, waiting] of later) this.#enqueue(file, waiting)
    const reason = getSystemErrorName(-errno)
    throw new Error(`Cannot write ${failed.length} LTX files, ${failed[0]?.[0]} among them: ${reason}`)
  }

  /** What cannot be written here waits on: the background says why. */
  #help(): void {
    let left = HELP_FILES
    for (const [file, { data }] of this.#pending) {
      if (left-- === 0) return
      if (writeFile({ path: file, via: this.#spares.take(), data }) !== 0) return
      this.forget(file)
    }
  }
}
