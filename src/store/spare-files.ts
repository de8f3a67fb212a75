import fs from 'node:fs'
import fsp from 'node:fs/promises'
import path from 'node:path'

/** Spare files that are kept however few were needed lately. */
const MIN_KEPT = 4096
/** Spare files that are kept at most: what a minute of 2,000 transactions a second takes. */
const MAX_KEPT = 131_072
/** Larger files are not kept, bytes: a spare file occupies its blocks. */
const MAX_SIZE = 16 << 10

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
    for (const name of surplus) await fsp.rm(this.#path(name))
  }

  /** Takes a file of `size` bytes away from its place, to be used from the next round on or not at all. Rejects with a system error. */
  async add(file: string, size: number): Promise<void> {
    if (size > MAX_SIZE || this.#resting.length >= this.#wanted) {
      await fsp.rm(file)
      return
    }
    const name = this.#next++
    await fsp.rename(file, this.#path(name))
    this.#resting.push(name)
  }

  #path(name: number): string {
    return path.join(this.#dir, String(name))
  }
}
