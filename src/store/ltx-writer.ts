import fs from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { getSystemErrorName } from 'node:util'
import type { Log } from '../log.js'
import { withdrawFile, writeFile, writeFiles } from '../native.js'
import type { SpareFiles } from './spare-files.js'

/** Files that one task on the thread pool takes on. */
const BATCH_FILES = 128
/** Waiting files from which on a commit helps to write some, so that a slow disk slows the writers down instead of filling the memory. */
const BACKLOG_FILES = 32_768
/** Files that such a commit writes. */
const HELP_FILES = 4
/** Pause before files that could not be written are tried again, milliseconds. */
const RETRY_DELAY_MS = 1000

interface Waiting {
  readonly data: Uint8Array
  /** Of its record in the log. */
  readonly sequence: number
}

/**
 * Writes LTX files that are safe in the log to their places, in the background and in order. While commits keep coming it leaves half of
 * its time to them: the log can wait.
 */
export class LtxWriter {
  readonly #log: Log
  readonly #spares: SpareFiles
  readonly #onProgress: () => void
  /** Oldest first. */
  readonly #pending = new Map<string, Waiting>()
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

  add(file: string, data: Uint8Array, sequence: number): void {
    if (this.#pending.size >= BACKLOG_FILES && !this.#failing) this.#help()
    this.#pending.delete(file)
    this.#pending.set(file, { data, sequence })
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** The file is at its place by other means. */
  forget(file: string): void {
    this.#pending.delete(file)
  }

  /** The file must not exist. */
  remove(file: string): void {
    this.#pending.delete(file)
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

  /** Never rejects: what cannot be written stays in the log and is tried again. */
  async #run(): Promise<void> {
    while (this.#pending.size > 0 && !this.#draining) {
      const waiting = this.#pending.size
      const start = performance.now()
      try {
        await this.#writeBatch()
        if (this.#failing) this.#log.info('LTX files are written again')
        this.#failing = false
      } catch (error) {
        if (!this.#failing) this.#log.error(`${(error as Error).message}; they stay in the log and are tried again`)
        this.#failing = true
      }
      const busy = this.#pending.size + BATCH_FILES > waiting
      if (this.#failing) await delay(RETRY_DELAY_MS, undefined, { ref: false })
      else if (busy) await delay(performance.now() - start)
    }
  }

  async #writeBatch(): Promise<void> {
    const batch = new Map<string, Waiting>()
    for (const [file, waiting] of this.#pending) {
      if (batch.size === BATCH_FILES) break
      batch.set(file, waiting)
    }
    for (const file of batch.keys()) this.#pending.delete(file)
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
    const later = [...this.#pending]
    this.#pending.clear()
    for (const [file, waiting] of [...failed, ...later]) this.#pending.set(file, waiting)
    const reason = getSystemErrorName(-errno)
    throw new Error(`Cannot write ${failed.length} LTX files, ${failed[0]?.[0]} among them: ${reason}`)
  }

  /** What cannot be written here waits on: the background says why. */
  #help(): void {
    let left = HELP_FILES
    for (const [file, { data }] of this.#pending) {
      if (left-- === 0) return
      if (writeFile({ path: file, via: this.#spares.take(), data }) !== 0) return
      this.#pending.delete(file)
    }
  }
}
