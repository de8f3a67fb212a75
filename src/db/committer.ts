import assert from 'node:assert/strict'
import { LtxEncoder } from '../ltx/encoder.js'
import { formatLtxName, type Position } from '../ltx/names.js'
import { Forwarding } from './forwarding.js'
import { filesOf } from './ltx-body.js'
import { type LtxSink, LtxSpool } from './ltx-spool.js'
import type { Change, PageState } from './page-state.js'
import { NO_FILE, type ReceivedLtx, Reception, spoolReceived } from './reception.js'
import { encodeTransaction, NO_WAL, type TransactionPages, type WalSpan } from './transaction.js'

/** What every database of a node shares. */
export interface CommitSettings {
  readonly sink: LtxSink
  readonly nodeId: bigint
  /** LZ4 in LTX files (`data.compress`). */
  readonly compress: boolean
  /** Every commit waits for the disk, whatever the application asked for (`data.sync: full`). */
  readonly syncEveryCommit: boolean
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number
  /** Whether a transaction of this node's own may be acknowledged now: not any more once another node could be the primary. */
  readonly mayCommit: () => boolean
}

/** A transaction that was captured, with what is needed to take it back. */
export interface Captured {
  /** Applying it to the state undoes the transaction. */
  readonly inverse: Change
  /** Its LTX files, in order: several where transactions of another node were applied together. */
  readonly files: readonly string[]
  /** Position before and after. */
  readonly before: Position
  readonly after: Position
  /** Its sequence number in the sink. */
  readonly sequence: number
  /** Made on this node, not received. */
  readonly own: boolean
}

/** LTX files whose transaction counts once its change does. */
export interface StoredFiles {
  readonly files: readonly string[]
  readonly sequence: number
  readonly timestampMs: number
  readonly durable: boolean
  readonly own: boolean
}

export interface CommitOptions {
  readonly wal: WalSpan
  readonly skipUnchanged: boolean
  /** Wait until the disk has it. */
  readonly durable: boolean
  /** Whoever made it believes in it already: nothing is left to refuse. */
  readonly afterTheFact?: boolean
}

/** Turns transactions of one database into LTX files and keeps the database's position with them. */
export class Committer {
  readonly state: PageState
  readonly reception: Reception
  readonly forwarding: Forwarding
  readonly #ltxDir: string
  readonly #settings: CommitSettings
  readonly #spool: LtxSpool
  #lastSequence = 0
  #undone = 0
  #lastCommitMs: number

  /** `state` is what the LTX files on disk lead to. */
  constructor(ltxDir: string, settings: CommitSettings, state: PageState, lastCommitMs: number) {
    this.#ltxDir = ltxDir
    this.#settings = settings
    this.#spool = new LtxSpool(ltxDir)
    this.state = state
    this.reception = new Reception(state)
    this.forwarding = new Forwarding(ltxDir)
    this.#lastCommitMs = lastCommitMs
  }

  get position(): Position {
    return { txid: this.state.txid, checksum: this.state.checksum }
  }

  /** Wall-clock time of the last transaction, milliseconds; 0 when there was none. */
  get lastCommitMs(): number {
    return this.#lastCommitMs
  }

  /** How many transactions were taken back so far. */
  get undoCount(): number {
    return this.#undone
  }

  /**
   * Captures one transaction. When it throws, nothing has changed and nothing is stored: the caller answers the write with that error,
   * and SQLite rolls back. Returns undefined where `skipUnchanged` finds no change.
   */
  commit(pages: TransactionPages, options: CommitOptions): Captured | undefined {
    const afterTheFact = options.afterTheFact === true
    if (this.forwarding.undecided !== undefined) return this.#commitDecided(pages, options)
    if (this.forwarding.active && this.reception.announced === undefined) return this.#commitElsewhere(pages, options)
    if (this.reception.receiving && !afterTheFact) return this.#commitReceived(pages, options.durable)
    const { sink, nodeId, compress, now } = this.#settings
    const timestampMs = now()
    const spool = this.#spool
    let file = ''
    let change: Change | undefined
    let sequence = 0
    try {
      const encoder = new LtxEncoder((chunk) => spool.write(chunk), { compress })
      const { wal, skipUnchanged } = options
      change = encodeTransaction(this.state, pages, encoder, { wal, timestampMs, nodeId, skipUnchanged, txidCount: 1 })
      if (change === undefined) {
        spool.discard()
        return undefined
      }
      if (!afterTheFact) this.checkMayCommit()
      file = `${this.#ltxDir}/${formatLtxName(change.txid, change.txid)}`
      sequence = spool.store(file, sink)
    } catch (error) {
      spool.discard()
      throw error
    }
    const captured = this.#stored(change, { files: [file], sequence, timestampMs, durable: options.durable, own: true })
    // The disk may have taken its time.
    if (!afterTheFact) this.#checkOrUndo(captured)
    return captured
  }

  /** The transaction that was announced has been applied. Where it changes nothing, nobody has written anything, and it is stored now. */
  concludeReceived(applied: boolean): void {
    const { announced, isEmpty } = this.reception
    const { txid } = this.state
    if (applied && announced !== undefined && txid !== announced.maxTxid && isEmpty) {
      this.#storeReceived(announced, this.reception.emptyChange(), false)
    }
    this.reception.conclude()
  }

  /** Asks the primary to commit it first. Throws UndecidedError, and nothing has changed here. */
  #commitElsewhere(pages: TransactionPages, { wal, skipUnchanged }: CommitOptions): undefined {
    const { nodeId, compress, now } = this.#settings
    const timestampMs = now()
    const spool = this.#spool
    try {
      const encoder = new LtxEncoder((chunk) => spool.write(chunk), { compress })
      const options = { wal, timestampMs, nodeId, skipUnchanged, txidCount: 1 }
      const change = encodeTransaction(this.state, pages, encoder, options)
      if (change !== undefined) this.forwarding.ask(change, timestampMs, spool.release(this.forwarding.file))
    } finally {
      spool.discard()
    }
  }

  /** The primary has decided. What it has committed is stored here as it was sent, if the pages are still the same. */
  #commitDecided(pages: TransactionPages, { skipUnchanged, durable }: CommitOptions): Captured {
    const decided = this.forwarding.answer()
    const { change, timestampMs, ltx } = decided
    try {
      const options = { wal: NO_WAL, timestampMs, nodeId: 0n, skipUnchanged, txidCount: 1 }
      const now = encodeTransaction(this.state, pages, NO_FILE, options)
      if (now === undefined || now.txid !== change.txid || now.hi !== change.hi || now.lo !== change.lo)
        throw Object.assign(new Error('Cannot commit: the pages have changed meanwhile'), { code: 'EIO' })
      const file = `${this.#ltxDir}/${formatLtxName(change.txid, change.txid)}`
      spoolReceived(ltx, this.#spool)
      const sequence = this.#spool.store(file, this.#settings.sink)
      const captured = this.#stored(change, { files: [file], sequence, timestampMs, durable, own: false })
      this.forwarding.stored(captured.after.txid, captured.after.checksum)
      return captured
    } finally {
      this.#spool.discard()
      this.forwarding.discard(decided)
    }
  }

  #commitReceived(pages: TransactionPages, durable: boolean): Captured | undefined {
    const { announced } = this.reception
    const change = this.reception.changeOf(pages)
    return announced === undefined || change === undefined ? undefined : this.#storeReceived(announced, change, durable)
  }

  /**
   * Stores what was announced, and returns once the disk has it, before its pages are written: the next start writes those that are not.
   * `filled` or `withdraw` follows. Throws a system error; then nothing has happened.
   */
  storeAhead(): StoredFiles {
    const { announced } = this.reception
    assert(announced !== undefined)
    const stored = this.#storeFiles(announced, true)
    try {
      this.#settings.sink.sync(stored.sequence)
    } catch (error) {
      this.#withdraw(stored.files)
      throw error
    }
    return stored
  }

  /** The pages of what `storeAhead` has stored are in the database file. */
  filled(stored: StoredFiles, change: Change): void {
    this.#stored(change, { ...stored, durable: false })
  }

  /** The pages of what `storeAhead` has stored will not be written. Throws a system error. */
  withdraw({ files }: StoredFiles): void {
    this.#withdraw(files)
  }

  #storeReceived(received: ReceivedLtx, change: Change, durable: boolean): Captured {
    return this.#stored(change, this.#storeFiles(received, durable))
  }

  #storeFiles(received: ReceivedLtx, durable: boolean): StoredFiles {
    const files: string[] = []
    let sequence = 0
    try {
      for (const { minTxid, maxTxid, body } of filesOf(received.body)) {
        const file = `${this.#ltxDir}/${formatLtxName(minTxid, maxTxid)}`
        spoolReceived(body, this.#spool)
        sequence = this.#spool.store(file, this.#settings.sink)
        files.push(file)
      }
    } catch (error) {
      this.#spool.discard()
      this.#withdraw(files)
      throw error
    }
    // Recovery would make one transaction of several in a WAL that is on disk before their files are: of another TXID than the primary's.
    const several = files.length > 1
    return { files, sequence, timestampMs: received.timestampMs, durable: durable || several, own: false }
  }

  #stored(change: Change, { files, sequence, timestampMs, durable, own }: StoredFiles): Captured {
    const before = this.position
    this.#lastSequence = Math.max(this.#lastSequence, sequence)
    const inverse = this.state.apply(change)
    this.#lastCommitMs = timestampMs
    const captured: Captured = { inverse, files, before, after: this.position, sequence, own }
    if (durable || this.#settings.syncEveryCommit) this.#syncOrUndo(captured)
    return captured
  }

  /**
   * Takes back the newest transaction: SQLite dropped it. It is taken back in any case, since the next one follows the one before it and
   * replaces its file. Throws a system error.
   */
  undo(captured: Captured): void {
    this.#undone++
    try {
      this.#withdraw(captured.files)
    } finally {
      this.state.apply(captured.inverse)
    }
  }

  /** Files that never happened, the newest first. All are withdrawn, whatever is thrown. */
  #withdraw(files: readonly string[]): void {
    const failures: unknown[] = []
    for (const file of [...files].reverse()) {
      try {
        this.#settings.sink.undo(file)
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  /** Returns when every transaction of this database is durable. Throws a system error. */
  ensureDurable(): void {
    if (this.#lastSequence > 0) this.#settings.sink.sync(this.#lastSequence)
  }

  /** Whether a transaction of this node's own may be acknowledged now. */
  get mayCommit(): boolean {
    if (this.forwarding.active) return true
    return !this.reception.receiving && this.#settings.mayCommit()
  }

  /** Throws EIO when a transaction of this node's own may not be acknowledged (any more). */
  checkMayCommit(): void {
    if (this.mayCommit) return
    throw Object.assign(new Error('Cannot commit: this node is not the primary, or its lease may have run out'), {
      code: 'EIO',
    })
  }

  #checkOrUndo(captured: Captured): void {
    try {
      this.checkMayCommit()
    } catch (error) {
      this.undo(captured)
      throw error
    }
  }

  #syncOrUndo(captured: Captured): void {
    try {
      this.#settings.sink.sync(captured.sequence)
    } catch (error) {
      this.undo(captured)
      throw error
    }
  }
}
