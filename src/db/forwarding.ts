import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import type { SingleLtx } from './ltx-body.js'
import type { Change } from './page-state.js'

/** Has another node commit a transaction. Rejects when it does not, or when nobody knows whether it has. */
export type CommitElsewhere = (ltx: SingleLtx) => Promise<void>

/** Thrown by a write that would complete a transaction on which another node decides first: do it again once `decided` has resolved. */
export class UndecidedError extends Error {
  override name = 'UndecidedError'
  /** Never rejects: the write that is done again hears how it went. */
  readonly decided: Promise<void>

  constructor(decided: Promise<void>) {
    super('another node decides about this transaction')
    this.decided = decided
  }
}

/** A transaction that another node was asked to commit. */
export interface Undecided {
  readonly change: Change
  readonly timestampMs: number
  readonly ltx: SingleLtx
  /** Undefined until it is known; true when the other node has committed it. */
  outcome: true | Error | undefined
  /** Resolves when it is known. */
  decided: Promise<void>
}

/**
 * The transactions of one database that are committed on another node, the primary, before they are here: while this node holds its halt
 * lock. A write that completes one is refused with UndecidedError, and is done again when the primary has answered.
 */
export class Forwarding {
  readonly #file: string
  #commit: CommitElsewhere | undefined
  #undecided: Undecided | undefined
  #deferring = false
  /** Checksums after the transactions that were committed so, by TXID: the primary sends them too. */
  readonly #committed = new Map<bigint, bigint>()

  /** `ltxDir` is where a large transaction waits. */
  constructor(ltxDir: string) {
    this.#file = path.join(ltxDir, 'forwarded.ltx.tmp')
  }

  get active(): boolean {
    return this.#commit !== undefined
  }

  /** Whether a transaction waits for the other node, or is to be stored here now. */
  get undecided(): Undecided | undefined {
    return this.#undecided
  }

  start(commit: CommitElsewhere): void {
    fs.rmSync(this.#file, { force: true })
    this.#commit = commit
  }

  /** What was asked already is still decided. */
  stop(): void {
    this.#commit = undefined
  }

  /** Does what may complete a transaction and can be done again. Throws what `work` throws, UndecidedError among it. */
  deferring<T>(work: () => T): T {
    this.#deferring = true
    try {
      return work()
    } finally {
      this.#deferring = false
    }
  }

  /** Where to put a large LTX file that is to be asked for. */
  get file(): string {
    return this.#file
  }

  /** Asks the other node. Throws UndecidedError; EACCES where whoever writes cannot wait for an answer. */
  ask(change: Change, timestampMs: number, ltx: SingleLtx): never {
    if (this.#commit === undefined || !this.#deferring) {
      throw Object.assign(new Error('Cannot commit under the halt lock: this is no transaction of SQLite'), {
        code: 'EACCES',
      })
    }
    assert(this.#undecided === undefined, 'one transaction at a time')
    const undecided: Undecided = { change, timestampMs, ltx, outcome: undefined, decided: Promise.resolve() }
    this.#undecided = undecided
    undecided.decided = this.#commit(ltx).then(
      () => {
        undecided.outcome = true
      },
      (error: Error) => {
        undecided.outcome = error
      },
    )
    throw new UndecidedError(undecided.decided)
  }

  /** The answer to the transaction that was asked for; it is then forgotten. Throws EIO when it was not committed. */
  answer(): Undecided {
    const undecided = this.#undecided
    assert(undecided !== undefined)
    if (undecided.outcome === undefined)
      throw Object.assign(new Error('Cannot commit: another transaction waits for the primary'), { code: 'EIO' })
    this.#undecided = undefined
    if (undecided.outcome === true) return undecided
    this.discard(undecided)
    throw Object.assign(new Error('Cannot commit under the halt lock', { cause: undecided.outcome }), { code: 'EIO' })
  }

  discard({ ltx }: Undecided): void {
    if ('path' in ltx) fs.rmSync(ltx.path, { force: true })
  }

  /** It is stored here too. */
  stored(txid: bigint, checksum: bigint): void {
    this.#committed.set(txid, checksum)
  }

  /** Whether a transaction that leads there was committed so. */
  knows(txid: bigint, checksum: bigint): boolean {
    return this.#committed.get(txid) === checksum
  }

  /** Whether transactions up to this one, which have arrived, were made here and are here, `txid` being the last that nobody takes back. */
  isOwn(maxTxid: bigint, postApply: bigint, txid: bigint): boolean {
    if (maxTxid > txid || this.#committed.get(maxTxid) !== postApply) return false
    for (const known of this.#committed.keys()) if (known < maxTxid) this.#committed.delete(known)
    return true
  }
}
