import fs from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import type { SourceTransaction } from '../backup/source.js'
import { scanPages } from '../db/page-scan.js'
import { PageState } from '../db/page-state.js'
import { type EncodeOptions, encodeTransaction, NO_WAL, type TransactionPages, withGrowth } from '../db/transaction.js'
import { LtxEncoder } from '../ltx/encoder.js'
import type { Position } from '../ltx/names.js'
import { databasePageCount, isCutShort } from '../sqlite/database-header.js'
import { FRAME_HEADER_SIZE, parseWalHeader, WAL_HEADER_SIZE, type WalHeader } from '../sqlite/wal.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'
import { firstCursor, type WalCursor, type WalTransaction, walTransactions } from '../sqlite/wal-scan.js'
import type { CapturedTransactions } from './captured-transactions.js'
import type { HeldDatabase } from './held-database.js'

/** The WAL does not lead on from what was captured. */
export class GapError extends Error {
  override name = 'GapError'
}

/** What is computed from pages without writing them down. */
const NO_ENCODER = { header: () => {}, page: () => {}, close: () => ({ postApplyChecksum: 0n, fileChecksum: 0n }) }

/**
 * Follows the WAL of a database that somebody else writes, from a state that was read whole. Every frame is checked against SQLite's chain of
 * checksums, up to where the wal-index says that the WAL ends, whose own checksum must come out: frames that a writer left there when it was killed
 * do not count. `state` is the database as it was captured, with the checksum of each page.
 */
export class WalCapture {
  readonly state = new PageState()
  readonly #held: HeldDatabase
  readonly #nodeId: bigint
  /** Of the WAL that is followed; undefined before anything was written to it. */
  #wal: WalHeader | undefined
  #cursor: WalCursor = { offset: WAL_HEADER_SIZE, s1: 0, s2: 0 }
  /** Where each page is in the WAL: its last frame, counted from 1. */
  readonly #frames = new Map<number, number>()
  /** Whether the next writer may begin the WAL anew: all of it was in the database file when the read mark was set. */
  #mayRestart = false

  private constructor(held: HeldDatabase, nodeId: bigint) {
    this.#held = held
    this.#nodeId = nodeId
  }

  /**
   * Reads a whole database as it is at `index`, where the read mark is. When it was at `lead` somewhere in its WAL, or is there now, that is where it
   * ends, and what follows can be taken; otherwise it has the TXID after that of `lead`. Throws where it is no complete database.
   */
  static async begin(held: HeldDatabase, index: WalIndexHeader, lead: Position | undefined, nodeId: bigint) {
    const capture = new WalCapture(held, nodeId)
    const { state } = capture
    const { header, fileSize } = held.header()
    if (header === undefined) throw new Error(`Cannot back up ${held.file}: it is no SQLite database`)
    const isInFile = index.mxFrame === index.nBackfill
    if (isInFile && isCutShort(header, fileSize)) {
      throw new Error(`Cannot back up ${held.file}: it is shorter than its header says (damaged)`)
    }
    state.pageSize = header.pageSize
    // Nobody keeps a WAL for a reader who does not need it: it may be another one soon.
    if (isInFile) capture.#followFrom(index)
    const pageCount = Math.min(databasePageCount(header, fileSize), Math.ceil(fileSize / header.pageSize))
    await scanPages(held.databaseFd, header.pageSize, pageCount, state)
    state.pageCount = pageCount
    if (!isInFile) await capture.#readWal(index, lead)
    if (lead === undefined || state.checksum !== lead.checksum) state.txid = (lead?.txid ?? 0n) + 1n
    else state.txid = lead.txid
    capture.marked(index)
    return capture
  }

  get position(): Position {
    return { txid: this.state.txid, checksum: this.state.checksum }
  }

  /** Bytes of the database. */
  get size(): number {
    return this.state.pageSize * this.state.pageCount
  }

  /** The read mark was set at `index`. */
  marked(index: WalIndexHeader): void {
    this.#mayRestart = index.mxFrame === index.nBackfill
  }

  /** Whether a checkpoint could do something. */
  wantsCheckpoint(index: WalIndexHeader): boolean {
    return index.mxFrame > 0 && !(this.#mayRestart && index.mxFrame === index.nBackfill)
  }

  /**
   * Takes what was committed since, up to `index`, as one transaction, at most `limit` bytes of the WAL or a transaction of SQLite. Resolves to whether
   * that was all. Throws GapError, and system errors: then nothing has changed.
   */
  take(index: WalIndexHeader, into: CapturedTransactions, limit: number): { all: boolean; transaction: boolean } {
    const end = this.#endOf(index)
    const wal = this.#wal
    if (wal === undefined || this.#cursor.offset === end) return { all: true, transaction: false }
    const pgnos = new Set<number>()
    let cursor = this.#cursor
    let commit = this.state.pageCount
    for (const transaction of this.#transactions(wal, index, end)) {
      this.#place(transaction)
      for (const pgno of transaction.pgnos) pgnos.add(pgno)
      cursor = transaction.end
      commit = transaction.commit
      if (cursor.offset - this.#cursor.offset >= limit && cursor.offset < end) break
    }
    const captured = this.#encode(pgnos, commit, into)
    this.#cursor = cursor
    return { all: cursor.offset === end, transaction: captured }
  }

  /** For each page of the database, where it is: 0 in the database file, -n in the n-th frame of the WAL. `index` is where a read mark is, and all was taken. */
  places(index: WalIndexHeader): Int32Array {
    const { pageCount } = this.state
    const places = new Int32Array(new SharedArrayBuffer(4 * pageCount))
    // Then a reader may be one for whom the WAL is not kept.
    if (index.mxFrame === index.nBackfill) return places
    for (const [pgno, frame] of this.#frames) if (pgno <= pageCount) places[pgno - 1] = -frame
    return places
  }

  /** The byte at which the WAL ends for SQLite, after looking for a new beginning. */
  #endOf({ mxFrame, salt1, salt2 }: WalIndexHeader): number {
    const isSame = this.#wal?.salt1 === salt1 && this.#wal.salt2 === salt2
    if (mxFrame === 0 && !isSame && this.#mayRestart) return this.#cursor.offset
    if (!isSame && !this.#mayRestart) throw new GapError('its WAL was begun anew by somebody')
    if (!isSame) this.#beginWal(salt1, salt2)
    const end = WAL_HEADER_SIZE + mxFrame * this.#frameSize
    if (end < this.#cursor.offset) throw new GapError('its WAL became shorter')
    return end
  }

  /** What comes in this WAL comes after `index`, if it is not begun anew. */
  #followFrom({ mxFrame, salt1, salt2, s1, s2 }: WalIndexHeader): void {
    if (mxFrame === 0) return
    const header = this.#walHeader()
    if (header?.salt1 !== salt1 || header.salt2 !== salt2) return
    this.#wal = header
    this.#cursor = { offset: WAL_HEADER_SIZE + mxFrame * this.#frameSize, s1, s2 }
  }

  #walHeader(): WalHeader | undefined {
    const bytes = Buffer.alloc(WAL_HEADER_SIZE)
    fs.readSync(this.#held.walFd, bytes, 0, bytes.length, 0)
    return parseWalHeader(bytes)
  }

  #beginWal(salt1: number, salt2: number): WalHeader {
    const header = this.#walHeader()
    if (header?.salt1 !== salt1 || header.salt2 !== salt2)
      throw new GapError('its WAL is another one than its wal-index says')
    if (header.pageSize !== this.state.pageSize) throw new GapError('its page size has changed')
    this.#wal = header
    this.#cursor = firstCursor(header)
    this.#frames.clear()
    this.#mayRestart = false
    return header
  }

  /** The transactions from the cursor to `end`. Throws GapError where they do not lead there. */
  *#transactions(wal: WalHeader, index: WalIndexHeader, end: number): Generator<WalTransaction> {
    const { walFd } = this.#held
    let at = this.#cursor
    for (const transaction of walTransactions(wal, at, (into, offset) =>
      fs.readSync(walFd, into, 0, into.length, offset),
    )) {
      at = transaction.end
      if (at.offset > end) break
      yield transaction
      if (at.offset === end) break
    }
    if (at.offset !== end || at.s1 !== index.s1 || at.s2 !== index.s2) {
      throw new GapError('the frames of its WAL do not lead to where its wal-index says that it ends')
    }
  }

  #place({ start, pgnos }: WalTransaction): void {
    const first = (start - WAL_HEADER_SIZE) / this.#frameSize + 1
    pgnos.forEach((pgno, i) => {
      this.#frames.set(pgno, first + i)
    })
  }

  /** What the WAL has when it is first looked at. */
  async #readWal(index: WalIndexHeader, lead: Position | undefined): Promise<void> {
    const wal = this.#beginWal(index.salt1, index.salt2)
    const end = WAL_HEADER_SIZE + index.mxFrame * this.#frameSize
    if (this.state.checksum === lead?.checksum) return
    for (const transaction of this.#transactions(wal, index, end)) {
      this.#place(transaction)
      const change = encodeTransaction(
        this.state,
        this.#pagesOf(transaction.pgnos, transaction.commit),
        NO_ENCODER,
        this.#options(),
      )
      if (change !== undefined) this.state.apply(change)
      this.#cursor = transaction.end
      // Of what comes now, the backup gets only the pages that changed.
      if (this.state.checksum === lead?.checksum) return
      await setImmediate()
    }
  }

  #encode(pgnos: Set<number>, commit: number, into: CapturedTransactions): boolean {
    const { state } = this
    const draft = into.draft()
    try {
      const encoder = new LtxEncoder((chunk) => draft.write(chunk), { compress: true })
      const options = this.#options()
      const before = this.position
      const change = encodeTransaction(state, this.#pagesOf(pgnos, commit), encoder, options)
      if (change === undefined) {
        draft.discard()
        return false
      }
      const after = { txid: change.txid, checksum: (BigInt(change.hi) << 32n) | BigInt(change.lo) }
      const { timestampMs } = options
      const about: Omit<SourceTransaction, 'path' | 'data'> = {
        minTxid: change.txid,
        after,
        preApplyChecksum: before.checksum,
        pageSize: state.pageSize,
        commit,
        timestampMs,
      }
      into.add(draft, about, commit * state.pageSize)
      state.apply(change)
      return true
    } catch (error) {
      draft.discard()
      throw error
    }
  }

  #pagesOf(changed: Iterable<number>, commit: number): TransactionPages {
    const { pageSize, pageCount } = this.state
    const sorted = Uint32Array.from(new Set(changed)).sort()
    const kept = sorted.filter((pgno) => pgno <= commit)
    const pgnos = withGrowth(kept, pageCount, commit, pageSize)
    return { pageSize, pageCount: commit, pgnos, read: (i, into) => this.#readPage(pgnos[i] ?? 0, into) }
  }

  /** What SQLite reads there: the last frame, else the database file, else zeros. */
  #readPage(pgno: number, into: Uint8Array): void {
    const frame = this.#frames.get(pgno)
    const { databaseFd, walFd } = this.#held
    const inWal = frame !== undefined
    const offset = inWal
      ? WAL_HEADER_SIZE + (frame - 1) * this.#frameSize + FRAME_HEADER_SIZE
      : (pgno - 1) * into.length
    const count = fs.readSync(inWal ? walFd : databaseFd, into, 0, into.length, offset)
    into.fill(0, count)
  }

  #options(): EncodeOptions {
    return { wal: NO_WAL, timestampMs: Date.now(), nodeId: this.#nodeId, skipUnchanged: true, txidCount: 1 }
  }

  get #frameSize(): number {
    return FRAME_HEADER_SIZE + this.state.pageSize
  }
}
