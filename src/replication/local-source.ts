import fs from 'node:fs/promises'
import path from 'node:path'
import { type LtxSummary, readLtxSummary } from '../db/ltx-file.js'
import type { FrozenPages } from '../db/page-freeze.js'
import { decodeHeader } from '../ltx/header.js'
import { formatLtxName, formatPosition, type Position, parseLtxName } from '../ltx/names.js'
import { decodeTrailer, TRAILER_SIZE } from '../ltx/trailer.js'
import type { FollowPace } from '../store/commit-feed.js'
import { RecentTransactions, type Transaction } from './recent.js'
import type { HeldSnapshot, Source, SourcePosition } from './source.js'

/** What the owner of the databases is asked. */
export interface DatabaseOwner {
  status(): Promise<readonly OwnedDatabase[]>
  /** Tells of transactions from now on, or no more. Resolves when every one before is in a file or was told of. */
  follow(pace: FollowPace): Promise<void>
  freeze(name: string): Promise<{ readonly freezeId: number; readonly pages: FrozenPages } | undefined>
  thaw(freezeId: number): Promise<void>
  /** Has connections read the schema of a database again, whatever they know of it. Resolves to false where it cannot, which it has told. */
  raiseSchemaCookie(name: string): Promise<boolean>
}

export interface OwnedDatabase {
  readonly name: string
  readonly position: Position
  readonly pageSize: number
  readonly lastCommitMs: number
}

export interface LocalSourceOptions {
  readonly nodeId: bigint
  readonly owner: DatabaseOwner
  /** The directory of a database's LTX files. */
  readonly ltxDir: (name: string) => string
  /** Memory for recent transactions, bytes. */
  readonly recentBytes: number
  /** How long transactions are still followed when nobody listens any more, milliseconds: a replica may come back. */
  readonly lingerMs: number
}

/** Snapshots that are sent at once: each costs the writers a copy of what they overwrite. */
const MAX_SNAPSHOTS = 4

/** The databases of this node, for those who follow them: where they stand, and what they went through lately. */
export class LocalSource implements Source {
  readonly nodeId: bigint
  readonly #options: LocalSourceOptions
  readonly #recent: RecentTransactions
  readonly #positions = new Map<string, SourcePosition>()
  readonly #highWaters = new Map<string, bigint>()
  /** By database, up to which TXID a file cannot be read. */
  readonly #avoided = new Map<string, bigint>()
  /** By database, for which position its schema cookie was raised last. */
  readonly #raised = new Map<string, string>()
  readonly #listeners = new Set<(name: string, transaction: Transaction) => void>()
  /** By how soon they want to hear of transactions. */
  readonly #followers = { promptly: 0, eventually: 0 }
  #following: Promise<void> | undefined
  /** As the owner was asked last, and its answer. Undefined after an error: then it is not known what the owner does. */
  #pace: FollowPace | undefined = 'off'
  #paced: Promise<void> = Promise.resolve()
  #linger: NodeJS.Timeout | undefined
  #snapshots = 0
  readonly #waiting: (() => void)[] = []

  constructor(options: LocalSourceOptions) {
    this.nodeId = options.nodeId
    this.#options = options
    this.#recent = new RecentTransactions(options.recentBytes)
  }

  /** Connected listeners. */
  get subscriberCount(): number {
    return this.#listeners.size
  }

  /** Resolves when positions and transactions are known and kept up to date. The returned function says that this is needed no more. */
  async follow(pace: 'promptly' | 'eventually' = 'promptly'): Promise<() => void> {
    this.#followers[pace]++
    clearTimeout(this.#linger)
    this.#following ??= this.#start()
    let released = false
    const release = () => {
      if (released) return
      released = true
      this.#followers[pace]--
      this.#slowDownLater()
    }
    try {
      await this.#following
      if (pace === 'promptly') await this.#set(pace)
      this.#slowDownLater()
    } catch (error) {
      this.#following = undefined
      release()
      throw error
    }
    return release
  }

  close(): void {
    clearTimeout(this.#linger)
  }

  /** Takes what the owner tells of: transactions in order. `data` is kept. */
  take(name: string, file: string, data: Uint8Array | undefined): void {
    const transaction = toTransaction(data === undefined ? readLtxSummary(file) : summaryOf(data), file, data)
    this.#positions.set(name, positionAfter(transaction))
    if (data !== undefined) this.#recent.add(name, transaction)
    for (const listener of this.#listeners) listener(name, transaction)
  }

  get highWaters(): ReadonlyMap<string, bigint> {
    return this.#highWaters
  }

  /** The backup has everything of a database up to this TXID. Where nobody else follows, it is not kept in memory any longer. */
  highWater(name: string, txid: bigint): void {
    this.#highWaters.set(name, txid)
    if (this.#pace !== 'promptly') this.#recent.forget(name, txid)
  }

  positions(): ReadonlyMap<string, SourcePosition> {
    return this.#positions
  }

  subscribe(listener: (name: string, transaction: Transaction) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async transaction(name: string, minTxid: bigint): Promise<Transaction | undefined> {
    const recent = this.#recent.find(name, minTxid)
    if (recent !== undefined) return recent
    if (minTxid <= (this.#avoided.get(name) ?? 0n)) return undefined
    const file = await this.#fileOf(this.#options.ltxDir(name), minTxid)
    if (file === undefined) return undefined
    return toTransaction(readLtxSummary(file), file, undefined)
  }

  avoidFiles(name: string, txid: bigint): void {
    this.#avoided.set(name, txid)
  }

  async prepareFor(name: string, at: Position): Promise<void> {
    const position = formatPosition(at)
    if (this.#raised.get(name) === position) return
    if (await this.#options.owner.raiseSchemaCookie(name)) this.#raised.set(name, position)
  }

  async snapshot(name: string): Promise<HeldSnapshot | undefined> {
    while (this.#snapshots >= MAX_SNAPSHOTS) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#snapshots++
    const leave = () => {
      this.#snapshots--
      this.#waiting.shift()?.()
    }
    try {
      const frozen = await this.#options.owner.freeze(name)
      if (frozen === undefined) {
        leave()
        return undefined
      }
      return { pages: frozen.pages, release: () => this.#options.owner.thaw(frozen.freezeId).finally(leave) }
    } catch (error) {
      leave()
      throw error
    }
  }

  /** Only a start, which compares all pages with the LTX files, can tell what is right. */
  doubt(): void {}

  async #start(): Promise<void> {
    await this.#set(this.#wanted)
    for (const { name, position, pageSize, lastCommitMs } of await this.#options.owner.status()) {
      const known = this.#positions.get(name)
      if (known !== undefined && known.txid > position.txid) continue
      this.#positions.set(name, { ...position, pageSize, timestampMs: lastCommitMs })
    }
  }

  get #wanted(): FollowPace {
    const { promptly, eventually } = this.#followers
    if (promptly > 0) return 'promptly'
    return eventually > 0 ? 'eventually' : 'off'
  }

  /** Whoever wants what another has asked for already waits for the same answer. */
  #set(pace: FollowPace): Promise<void> {
    if (this.#pace === pace) return this.#paced
    this.#pace = pace
    const paced = this.#options.owner.follow(pace).catch((error: unknown) => {
      if (this.#paced === paced) this.#pace = undefined
      throw error
    })
    this.#paced = paced
    return paced
  }

  /** Who wanted to hear of them sooner may come back. */
  #slowDownLater(): void {
    if (this.#wanted === this.#pace) return
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.#slowDown(), this.#options.lingerMs).unref()
  }

  #slowDown(): void {
    if (this.#wanted === 'off') this.#following = undefined
    // Nobody waits for it. Whoever follows next begins anew, and hears what is wrong.
    this.#set(this.#wanted).catch(() => {
      this.#following = undefined
    })
  }

  async #fileOf(dir: string, minTxid: bigint): Promise<string | undefined> {
    const single = path.join(dir, formatLtxName(minTxid, minTxid))
    try {
      await fs.access(single)
      return single
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    // Recovery and merging make files of several transactions; few, and looked for only where a replica was away.
    try {
      const names = await fs.readdir(dir)
      const found = names.find((file) => parseLtxName(file)?.minTxid === minTxid)
      return found === undefined ? undefined : path.join(dir, found)
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }
}

type Summary = Omit<LtxSummary, 'path'>

function summaryOf(data: Uint8Array): Summary {
  const trailer = decodeTrailer(data, data.length - TRAILER_SIZE)
  return { header: decodeHeader(data), trailer, size: data.length }
}

function toTransaction({ header, trailer, size }: Summary, file: string, data: Uint8Array | undefined): Transaction {
  return {
    minTxid: header.minTxid,
    after: { txid: header.maxTxid, checksum: trailer.postApplyChecksum },
    preApplyChecksum: header.preApplyChecksum,
    pageSize: header.pageSize,
    commit: header.commit,
    timestampMs: header.timestamp,
    nodeId: header.nodeId,
    path: file,
    size,
    data,
  }
}

function positionAfter({ after, timestampMs, pageSize }: Transaction): SourcePosition {
  return { ...after, timestampMs, pageSize }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
