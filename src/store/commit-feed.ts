import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import type { Database } from '../db/database.js'
import { readLtxSummary } from '../db/ltx-file.js'
import { decodeHeader } from '../ltx/header.js'
import { type Position, parseLtxName } from '../ltx/names.js'
import type { LtxWatcher } from './ltx-log.js'
import { LtxTally } from './ltx-tally.js'

/** A transaction that is final and durable: no writer, no crash and no power cut takes it back. */
export interface DurableCommit {
  readonly database: Database
  readonly txid: bigint
  /** The LTX file; undefined for a large one, which is on disk. Valid until `publish` returns. */
  readonly data: Uint8Array | undefined
  /** Path of the LTX file, where a small one may not have arrived yet. */
  readonly file: string
}

/** How soon transactions are told of: soon enough for a backup, or at once, which costs the writers. */
export type FollowPace = 'off' | 'eventually' | 'promptly'

interface Entry {
  readonly file: string
  readonly data: Uint8Array | undefined
  readonly sequence: number
  readonly minTxid: bigint
  readonly maxTxid: bigint
}

export interface FeedParts {
  /** The databases as they are now. */
  databases(): Iterable<Database>
  /** Takes transactions, each database's in their order. */
  publish(commits: readonly DurableCommit[]): void
  /** Databases may have other positions now. */
  moved(): void
}

/**
 * Tells of each transaction once it is final and durable. It learns what is stored from the LTX log and what is final from the
 * databases, and looks again whenever either may have changed, after the event that changed it: in the middle of a commit the two disagree.
 */
export class CommitFeed implements LtxWatcher {
  readonly #parts: FeedParts
  /** By LTX directory, oldest first: stored, but not published. */
  readonly #waiting = new Map<string, Entry[]>()
  readonly #byDirectory = new Map<string, Database>()
  /** Transactions captured since the start, by LTX directory. */
  readonly #counts = new Map<string, number>()
  readonly #tallies = new Map<string, LtxTally>()
  #durable = 0
  #scheduled = false
  #pace: FollowPace = 'off'

  constructor(parts: FeedParts) {
    this.#parts = parts
  }

  /** Whether transactions are published, and how soon; those that become final while they are not are never. */
  get pace(): FollowPace {
    return this.#pace
  }

  set pace(pace: FollowPace) {
    this.flush()
    this.#pace = pace
  }

  get isPrompt(): boolean {
    return this.#pace === 'promptly'
  }

  stored(file: string, data: Uint8Array | undefined, sequence: number): void {
    const directory = path.dirname(file)
    const range = parseLtxName(path.basename(file))
    assert(range, 'LTX files are named by their TXIDs')
    const entry = { file, data, sequence, ...range }
    this.tally(directory).stored({ ...range, bytes: data?.length ?? fs.statSync(file).size })
    const waiting = this.#waiting.get(directory)
    if (waiting === undefined) this.#waiting.set(directory, [entry])
    else waiting.push(entry)
    this.#counts.set(directory, (this.#counts.get(directory) ?? 0) + 1)
  }

  undone(file: string): void {
    const directory = path.dirname(file)
    const waiting = this.#waiting.get(directory)
    this.#counts.set(directory, (this.#counts.get(directory) ?? 1) - 1)
    if (waiting?.at(-1)?.file === file) waiting.pop()
    this.tally(directory).undone()
  }

  durable(sequence: number): void {
    this.#durable = sequence
    this.schedule()
  }

  /** Looks again soon: a transaction may have become final. */
  schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  /** The position up to which this database is final and durable. */
  durablePosition(database: Database): Position {
    this.flush()
    const [first] = this.#waiting.get(database.layout.ltxDir) ?? []
    return first === undefined ? database.position : positionBefore(first)
  }

  /** The LTX files of a directory. */
  tally(directory: string): LtxTally {
    const known = this.#tallies.get(directory)
    if (known !== undefined) return known
    const tally = new LtxTally(directory)
    this.#tallies.set(directory, tally)
    return tally
  }

  /** Transactions captured since the start. */
  commitCount(database: Database): number {
    return this.#counts.get(database.layout.ltxDir) ?? 0
  }

  /** Publishes what is final and durable, now. */
  flush(): void {
    const commits: DurableCommit[] = []
    for (const [directory, waiting] of this.#waiting) {
      const database = this.#databaseOf(directory)
      if (database === undefined) {
        this.#waiting.delete(directory)
        continue
      }
      const final = database.position.txid
      const count = waiting.findIndex((entry) => entry.sequence > this.#durable || entry.maxTxid > final)
      const ready = waiting.splice(0, count === -1 ? waiting.length : count)
      if (waiting.length === 0) this.#waiting.delete(directory)
      if (this.#pace === 'off') continue
      for (const { file, data, maxTxid } of ready) commits.push({ database, txid: maxTxid, data, file })
    }
    if (commits.length > 0) this.#parts.publish(commits)
    this.#parts.moved()
  }

  #databaseOf(directory: string): Database | undefined {
    const known = this.#byDirectory.get(directory)
    if (known !== undefined) return known
    for (const database of this.#parts.databases()) this.#byDirectory.set(database.layout.ltxDir, database)
    return this.#byDirectory.get(directory)
  }

  /** The name is free for another database. */
  forget(database: Database): void {
    this.#waiting.delete(database.layout.ltxDir)
    this.#byDirectory.delete(database.layout.ltxDir)
    this.#tallies.delete(database.layout.ltxDir)
    this.#counts.delete(database.layout.ltxDir)
  }
}

function positionBefore({ file, data, minTxid }: Entry): Position {
  const header = data === undefined ? readLtxSummary(file).header : decodeHeader(data)
  return { txid: minTxid - 1n, checksum: header.preApplyChecksum }
}
