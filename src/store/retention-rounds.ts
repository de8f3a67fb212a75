import fs from 'node:fs'
import path from 'node:path'
import type { Database } from '../db/database.js'
import { expiredLtxFiles } from '../db/retention.js'
import type { Log } from '../log.js'
import { parseLtxName } from '../ltx/names.js'
import type { LtxTally } from './ltx-tally.js'
import type { SpareFiles } from './spare-files.js'

/** What a connected replica still needs is kept for this many times the retention, and no longer: the disk must not fill up for one that hangs. */
export const NEEDED_FACTOR = 10

export type Retained = Pick<Database, 'name' | 'layout'>

export interface RetentionParts {
  databases(): Iterable<Retained>
  tallyOf(database: Retained): LtxTally
  readonly spares: Pick<SpareFiles, 'resting' | 'nextRound' | 'add'>
  /** Resolves when all that was written to the data directory so far is on disk. */
  sync(): Promise<void>
  readonly log: Log
}

export interface RetentionTimes {
  /** LTX files older than this (milliseconds) are removed; 0 keeps them all. */
  readonly retentionMs: number
  readonly retentionIntervalMs: number
}

/** Takes old LTX files away, at intervals. */
export class RetentionRounds {
  readonly #parts: RetentionParts
  readonly #retentionMs: number
  readonly #timer: NodeJS.Timeout | undefined
  #needed: ReadonlyMap<string, bigint> = new Map()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: RetentionParts, { retentionMs, retentionIntervalMs }: RetentionTimes) {
    this.#parts = parts
    this.#retentionMs = retentionMs
    if (retentionMs > 0 && retentionIntervalMs > 0) {
      this.#timer = setInterval(() => this.#runInBackground(), retentionIntervalMs)
    }
  }

  /** By database, the first TXID that a connected replica has not got yet. */
  set needed(needed: ReadonlyMap<string, bigint>) {
    this.#needed = needed
  }

  /** Resolves when no round is under way, and no other will be. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
  }

  #runInBackground(): void {
    this.#running = this.#running
      .then(() => this.run())
      .catch((error: Error) => this.#parts.log.error(`cannot remove old LTX files: ${error.message}`))
  }

  /** One round. What the files lead to must be on disk without them before they go. Rejects with a system error. */
  async run(): Promise<void> {
    const { databases, spares, sync, tallyOf } = this.#parts
    const expired: string[] = []
    const ends = new Map<LtxTally, bigint>()
    for (const database of databases()) {
      const files = await this.#expired(database)
      const last = parseLtxName(path.basename(files.at(-1) ?? ''))
      if (last !== undefined) ends.set(tallyOf(database), last.maxTxid)
      for (const file of files) expired.push(file)
    }
    if (expired.length === 0 && !spares.resting) return
    await sync()
    await spares.nextRound()
    await spares.add(expired)
    for (const [tally, last] of ends) tally.reaped(last + 1n)
  }

  /** Oldest first. */
  async #expired({ name, layout: { ltxDir } }: Retained): Promise<string[]> {
    if (!fs.existsSync(ltxDir)) return []
    const now = Date.now()
    const expired = await expiredLtxFiles(ltxDir, now - this.#retentionMs)
    const needed = this.#needed.get(name)
    const kept = needed === undefined ? -1 : expired.findIndex((file) => lastTxid(file) >= needed)
    if (kept < 0) return expired
    const hopeless = await expiredLtxFiles(ltxDir, now - NEEDED_FACTOR * this.#retentionMs)
    return expired.slice(0, Math.max(kept, hopeless.length))
  }
}

function lastTxid(file: string): bigint {
  return parseLtxName(path.basename(file))?.maxTxid ?? 0n
}
