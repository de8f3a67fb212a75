import assert from 'node:assert/strict'
import { formatPosition, type Position } from '../ltx/names.js'
import type { LtxBody } from './ltx-body.js'
import type { LtxSpool } from './ltx-spool.js'
import { type Change, FLAG_HI, type PageState } from './page-state.js'
import { encodeTransaction, NO_WAL, type TransactionPages } from './transaction.js'

/** One or more consecutive transactions of another node, as LTX files that were verified. */
export interface ReceivedLtx {
  readonly minTxid: bigint
  readonly maxTxid: bigint
  /** Checksum of the database before it; zero for a snapshot. */
  readonly preApply: bigint
  readonly postApply: bigint
  /** Pages of the database after it. */
  readonly pageCount: number
  /** When it was made, milliseconds. */
  readonly timestampMs: number
  readonly body: LtxBody
}

/**
 * Transactions that arrive from another node. Their pages are written to the files of the database like anybody's; but what is stored is
 * the file that has arrived, byte for byte, and only once the database has become exactly what that file says.
 */
export class Reception {
  readonly #state: PageState
  #announced: ReceivedLtx | undefined
  #receiving = false
  #refusal: Error | undefined

  constructor(state: PageState) {
    this.#state = state
  }

  /** Whether this node makes no transactions of its own: what changes the database and was not announced is refused. */
  get receiving(): boolean {
    return this.#receiving
  }

  set receiving(on: boolean) {
    this.#receiving = on
    this.#announced = undefined
  }

  get announced(): ReceivedLtx | undefined {
    return this.#announced
  }

  /** Why what was written for the announced transaction was refused; its writer only got EIO. */
  get refusal(): Error | undefined {
    return this.#refusal
  }

  /**
   * From now on the pages of this transaction may be written. False when it is there already. `final` is the position that nobody can take
   * back: what is there beyond it was interrupted, and is written again, alone or with what followed it. Throws when it does not follow
   * what is there.
   */
  announce(ltx: ReceivedLtx, final: Position): boolean {
    assert(this.#receiving, 'only a node that makes no transactions receives any')
    const { txid, checksum } = this.#state
    if (final.txid === ltx.maxTxid && final.checksum === ltx.postApply) return false
    const follows = [final, { txid, checksum }].some(
      (at) => at.txid + 1n === ltx.minTxid && at.checksum === ltx.preApply,
    )
    if (!follows && ltx.minTxid !== 1n) {
      const wanted = formatPosition({ txid: ltx.minTxid - 1n, checksum: ltx.preApply })
      throw new Error(
        `Cannot apply a transaction: it follows ${wanted}, and the database is at ${formatPosition({ txid, checksum })}`,
      )
    }
    this.#announced = ltx
    this.#refusal = undefined
    return true
  }

  /** What was announced is written, or will not be. */
  conclude(): void {
    this.#announced = undefined
  }

  /**
   * What `pages` make of the database, when that is what was announced. Undefined when they leave it as it is and that is not: a writer
   * has taken back what he had written. Throws, to the writer, when it is anything else.
   */
  changeOf(pages: TransactionPages): Change | undefined {
    const { timestampMs = 0, pageCount = 0, postApply = 0n, maxTxid = 0n } = this.#announced ?? {}
    const options = { wal: NO_WAL, timestampMs, nodeId: 0n, skipUnchanged: false, txidCount: 1 }
    const change = encodeTransaction(this.#state, pages, NO_FILE, options)
    assert(change !== undefined)
    const checksum = checksumOf(change)
    if (this.#announced !== undefined && checksum === postApply && change.pageCount === pageCount) {
      return { ...change, txid: maxTxid }
    }
    if (checksum === this.#state.checksum && change.pageCount === this.#state.pageCount) return undefined
    if (this.#announced === undefined) {
      throw Object.assign(new Error('Cannot change the database: this node is a replica'), { code: 'EACCES' })
    }
    this.#refuse()
  }

  /** Throws when the change is not what was announced. */
  checkPromise(change: Change): void {
    const { pageCount, postApply } = this.#announced ?? {}
    if (checksumOf(change) !== postApply || change.pageCount !== pageCount) this.#refuse()
  }

  #refuse(): never {
    const message = 'Cannot apply a transaction: its pages do not make the database that its LTX file promises'
    this.#refusal = Object.assign(new Error(message), { code: 'EIO' })
    throw this.#refusal
  }

  /** Whether what was announced changes nothing, so that nobody writes anything. */
  get isEmpty(): boolean {
    const { checksum, pageCount } = this.#state
    return this.#announced?.postApply === checksum && this.#announced.pageCount === pageCount
  }

  /** The change of a transaction that changes nothing but the position. */
  emptyChange(): Change {
    assert(this.#announced !== undefined && this.isEmpty)
    const { pageSize, pageCount, hi, lo } = this.#state
    const none = new Uint32Array(0)
    return {
      pageSize,
      pageCount,
      txid: this.#announced.maxTxid,
      hi: pageCount === 0 ? FLAG_HI : hi,
      lo,
      pgnos: none,
      sums: none,
    }
  }
}

function checksumOf({ hi, lo }: Change): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo)
}

/** Stores a file as it arrived. Throws a system error. */
export function spoolReceived(body: LtxBody, spool: LtxSpool): void {
  assert(!('run' in body), 'each file is stored by itself')
  if ('bytes' in body) spool.write(body.bytes)
  else spool.take(body.path)
}

/** Takes the pages of a transaction for which there is a file already. */
export const NO_FILE = {
  header() {},
  page() {},
  close: () => ({ postApplyChecksum: 0n, fileChecksum: 0n }),
}
