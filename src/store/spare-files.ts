import fs from 'node:fs'
import path from 'node:path'
import { getSystemErrorName } from 'node:util'
import type { FileToTake } from '../addon.js'
import { takeFiles } from '../native.js'

/** Spare files that are kept however few were needed lately. */
const MIN_KEPT = 4096
/** Spare files that are kept at most: what a minute of 2,000 transactions a second takes. */
const MAX_KEPT = 131_072
/** Larger files are not kept, bytes: a spare file occupies its blocks. */
const MAX_SIZE = 16 << 10
/** Files that one task on the thread pool takes on. */
const BATCH_FILES = 128

/**
 * Expired LTX files, kept to be overwritten by new ones: ext4 takes 30 us to overwrite a small file, and up to 700 us to create one for
 * minutes after many were deleted. As many are kept as were needed between the last two rounds of retention.
 *
 * A file becomes a spare one round after it expired. By then it is on disk that it has no LTX name any more, so that a power cut does
 * not bring the name back with other content, and whoever was reading it is done.
 */
export class SpareFiles {
  readonly #dir: string
  #ready: number[]
  #resting: number[] = []
  #next: number
  #taken = 0
  #wanted = MIN_KEPT

  /** Everything in the directory, which is created where it is missing, is a spare file. Throws a system error. */
  constructor(dir: string) {
    this.#dir = dir
    fs.mkdirSync(dir, { recursive: true })
    this.#ready = fs.readdirSync(dir).map(Number).filter(Number.isSafeInteger)
    this.#next = this.#ready.reduce((next, name) => Math.max(next, name + 1), 0)
  }

  /** Whether there are files that become spare with the next round. */
  get resting(): boolean {
    return this.#resting.length > 0
  }

  /** The path of a spare file, or of none yet: where to write a new file before it is renamed to its place. */
  take(): string {
    this.#taken++
    return this.#path(this.#ready.pop() ?? this.#next++)
  }

  /** Starts a round of retention, when all that the last one moved is on disk. Rejects with a system error. */
  async nextRound(): Promise<void> {
    this.#wanted = Math.min(Math.max(this.#taken, MIN_KEPT), MAX_KEPT)
    this.#taken = 0
    this.#ready = this.#ready.concat(this.#resting)
    this.#resting = []
    const surplus = this.#ready.splice(0, Math.max(0, this.#ready.length - this.#wanted))
    for (let i = 0; i < surplus.length; i += BATCH_FILES) {
      const batch = surplus.slice(i, i + BATCH_FILES).map((name) => this.#path(name))
      check(batch, await takeFiles(batch.map(removed), MAX_SIZE))
    }
  }

  /** Takes files away from their places, to be used from the next round on or not at all. Rejects with a system error. */
  async add(files: readonly string[]): Promise<void> {
    for (let i = 0; i < files.length; i += BATCH_FILES) {
      const batch = files.slice(i, i + BATCH_FILES)
      const first = this.#next
      const kept = Math.min(batch.length, this.#wanted - this.#resting.length)
      this.#next += kept
      const moves = batch.map((file, j) => (j < kept ? { path: file, via: this.#path(first + j) } : removed(file)))
      const results = await takeFiles(moves, MAX_SIZE)
      for (const [j, result] of results.entries()) if (result === 0) this.#resting.push(first + j)
      check(batch, results)
    }
  }

  #path(name: number): string {
    return path.join(this.#dir, String(name))
  }
}

function removed(file: string): FileToTake {
  return { path: file, via: '' }
}

function check(files: readonly string[], results: readonly number[]): void {
  const failed = results.findIndex((errno) => errno > 0)
  if (failed < 0) return
  const reason = getSystemErrorName(-(results[failed] ?? 0))
  throw new Error(`Cannot take ${files[failed]} away: ${reason}`)
}
