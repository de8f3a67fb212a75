import { stat } from 'node:fs/promises'
import path from 'node:path'
import { LtxListing } from '../db/ltx-listing.js'
import { parseLtxName } from '../ltx/names.js'

/** Behind every LTX name, in the order of names. */
const AFTER_ALL = 'g'

/** The LTX files of one database. */
export interface LtxCounts {
  /** TXIDs from the first to the last file; zero when there is none. */
  readonly minTxid: bigint
  readonly maxTxid: bigint
  readonly count: number
  readonly bytes: number
  /** Files that retention removed since the start. */
  readonly reapCount: number
}

interface Stored {
  readonly minTxid: bigint
  readonly maxTxid: bigint
  readonly bytes: number
}

/**
 * Counts the LTX files of one database as they come and go, so that nobody has to list a directory of a million of them to know. What was
 * there before is counted by `count`. Takes 16 bytes of memory a file.
 */
export class LtxTally {
  readonly #dir: string
  /** Last TXID and bytes of each file, oldest first; those before `#first` are gone. */
  #maxTxids: number[] = []
  #sizes: number[] = []
  #first = 0
  #minTxid = 0n
  #bytes = 0
  #reapCount = 0
  #counting: Promise<void> | undefined

  constructor(dir: string) {
    this.#dir = dir
  }

  get counts(): LtxCounts {
    const count = this.#sizes.length - this.#first
    const maxTxid = count === 0 ? 0n : BigInt(this.#maxTxids.at(-1) ?? 0)
    return { minTxid: count === 0 ? 0n : this.#minTxid, maxTxid, count, bytes: this.#bytes, reapCount: this.#reapCount }
  }

  stored({ minTxid, maxTxid, bytes }: Stored): void {
    if (this.#sizes.length === this.#first) this.#minTxid = minTxid
    this.#maxTxids.push(Number(maxTxid))
    this.#sizes.push(bytes)
    this.#bytes += bytes
  }

  /** The newest one never happened. */
  undone(): void {
    this.#maxTxids.pop()
    this.#bytes -= this.#sizes.pop() ?? 0
  }

  /** Retention removed those that end before this TXID. */
  reaped(before: bigint): void {
    let maxTxid = this.#maxTxids[this.#first]
    while (maxTxid !== undefined && maxTxid < before) {
      this.#bytes -= this.#sizes[this.#first] ?? 0
      this.#minTxid = BigInt(maxTxid) + 1n
      this.#first++
      this.#reapCount++
      maxTxid = this.#maxTxids[this.#first]
    }
    if (this.#first < this.#sizes.length / 2) return
    this.#maxTxids = this.#maxTxids.slice(this.#first)
    this.#sizes = this.#sizes.slice(this.#first)
    this.#first = 0
  }

  /** Counts what is in the directory, and goes by that. Calls at the same time are one. Rejects with a system error. */
  count(): Promise<void> {
    this.#counting ??= this.#count().finally(() => {
      this.#counting = undefined
    })
    return this.#counting
  }

  async #count(): Promise<void> {
    const listing = await LtxListing.read(this.#dir)
    const maxTxids: number[] = []
    const sizes: number[] = []
    let first: bigint | undefined
    for await (const names of listing.before(AFTER_ALL)) {
      for (const name of names) {
        const range = parseLtxName(name)
        if (range === undefined) continue
        first ??= range.minTxid
        maxTxids.push(Number(range.maxTxid))
        sizes.push(await sizeOf(path.join(this.#dir, name)))
      }
    }
    // Those that came meanwhile may be among them.
    const newest = maxTxids.at(-1) ?? 0
    const later = this.#maxTxids.findIndex((maxTxid, i) => i >= this.#first && maxTxid > newest)
    this.#maxTxids = later < 0 ? maxTxids : maxTxids.concat(this.#maxTxids.slice(later))
    this.#sizes = later < 0 ? sizes : sizes.concat(this.#sizes.slice(later))
    this.#minTxid = first ?? this.#minTxid
    this.#first = 0
    this.#bytes = this.#sizes.reduce((sum, bytes) => sum + bytes, 0)
  }
}

/** Zero for one that has gone. */
async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0
    throw error
  }
}
