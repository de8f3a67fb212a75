import { lockPage } from '../ltx/checksum.js'
import type { LtxEncoder } from '../ltx/encoder.js'
import { pageChecksum } from '../native.js'
import { type Change, FLAG_HI, type PageState } from './page-state.js'

/** The pages of one transaction, wherever they are: in the WAL, in the database file, in an LTX file. */
export interface TransactionPages {
  readonly pageSize: number
  /** Database size in pages after the transaction. */
  readonly pageCount: number
  /** Ascending, without the lock page, none above `pageCount`, and every page by which the database grew. */
  readonly pgnos: Uint32Array
  /** Puts the image of page `pgnos[index]` into `into`, which holds one page. */
  read(index: number, into: Uint8Array): void
}

/** Where in the WAL a transaction stands; all zero when it came from elsewhere. */
export interface WalSpan {
  readonly offset: number
  readonly size: number
  readonly salt1: number
  readonly salt2: number
}

export const NO_WAL: WalSpan = { offset: 0, size: 0, salt1: 0, salt2: 0 }

export interface EncodeOptions {
  readonly wal: WalSpan
  readonly timestampMs: number
  readonly nodeId: bigint
  /** Leaves out pages whose content did not change; then a transaction that changed nothing is none at all. */
  readonly skipUnchanged: boolean
  /** TXIDs that this transaction spans: 1, except where recovery merges what several commits left in the WAL. */
  readonly txidCount: number
}

/**
 * Writes the next transaction of a database as an LTX file and computes what it changes, in one pass over its pages.
 * The state itself is not touched. Returns undefined, with a useless encoder, when nothing changed.
 */
export function encodeTransaction(
  state: PageState,
  pages: TransactionPages,
  encoder: Pick<LtxEncoder, 'header' | 'page' | 'close'>,
  options: EncodeOptions,
): Change | undefined {
  const minTxid = state.txid + 1n
  const txid = state.txid + BigInt(options.txidCount)
  const resized = state.pageCount > 0 && state.pageSize !== pages.pageSize
  encoder.header({
    flags: 0,
    pageSize: pages.pageSize,
    commit: pages.pageCount,
    minTxid,
    maxTxid: txid,
    timestamp: options.timestampMs,
    preApplyChecksum: minTxid === 1n ? 0n : state.checksum,
    walOffset: options.wal.offset,
    walSize: options.wal.size,
    walSalt1: options.wal.salt1,
    walSalt2: options.wal.salt2,
    nodeId: options.nodeId,
  })

  const sums = new Uint32Array(pages.pgnos.length * 2)
  const pgnos = new Uint32Array(pages.pgnos.length)
  const old = new Uint32Array(2)
  const page = Buffer.allocUnsafe(pages.pageSize)
  let hi = resized ? 0 : state.hi
  let lo = resized ? 0 : state.lo
  let count = 0
  for (let index = 0; index < pages.pgnos.length; index++) {
    const pgno = pages.pgnos[index] ?? 0
    pages.read(index, page)
    pageChecksum(sums, count, pgno, page, 0, page.length)
    if (resized || pgno > state.pageCount) old.fill(0)
    else state.checksums.get(pgno, old, 0)
    const newHi = sums[2 * count] ?? 0
    const newLo = sums[2 * count + 1] ?? 0
    if (options.skipUnchanged && newHi === old[0] && newLo === old[1]) continue
    hi ^= (old[0] ?? 0) ^ newHi
    lo ^= (old[1] ?? 0) ^ newLo
    pgnos[count] = pgno
    count++
    encoder.page(pgno, page)
  }
  if (!resized) {
    for (let pgno = pages.pageCount + 1; pgno <= state.pageCount; pgno++) {
      state.checksums.get(pgno, old, 0)
      hi ^= old[0] ?? 0
      lo ^= old[1] ?? 0
    }
  }
  if (options.skipUnchanged && count === 0 && pages.pageCount === state.pageCount) return undefined

  const change: Change = {
    pageSize: pages.pageSize,
    pageCount: pages.pageCount,
    txid,
    hi: (hi | FLAG_HI) >>> 0,
    lo: lo >>> 0,
    pgnos: pgnos.subarray(0, count),
    sums: sums.subarray(0, 2 * count),
  }
  encoder.close((BigInt(change.hi) << 32n) | BigInt(change.lo))
  return change
}

/** `pgnos` (ascending) without the lock page and with every page by which a database of `oldCount` pages grows to `newCount`. */
export function withGrowth(pgnos: Uint32Array, oldCount: number, newCount: number, pageSize: number): Uint32Array {
  const lock = lockPage(pageSize)
  const kept = pgnos.includes(lock) ? pgnos.filter((pgno) => pgno !== lock) : pgnos
  if (newCount <= oldCount) return kept
  const below = kept.findIndex((pgno) => pgno > oldCount)
  const head = below === -1 ? kept : kept.subarray(0, below)
  const grownWithLock = newCount - oldCount
  const grown = grownWithLock - (lock > oldCount && lock <= newCount ? 1 : 0)
  if (kept.length - head.length === grown) return kept
  const all = new Uint32Array(head.length + grown)
  all.set(head)
  let at = head.length
  for (let pgno = oldCount + 1; pgno <= newCount; pgno++) if (pgno !== lock) all[at++] = pgno
  return all
}
