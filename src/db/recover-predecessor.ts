import fs from 'node:fs'
import { checksumFromHalves } from '../ltx/checksum.js'
import { pageChecksum } from '../native.js'
import { lastFrames, type WalTransaction } from '../sqlite/wal-scan.js'
import type { DatabaseLayout } from './layout.js'
import type { LtxSummary } from './ltx-file.js'
import type { PageState } from './page-state.js'
import { reader } from './recover-journal.js'
import type { FoundWal } from './recover-wal.js'

/** A position that an LTX file can continue from. */
export interface Predecessor {
  readonly txid: bigint
  readonly checksum: bigint
  readonly pageSize: number
  readonly pageCount: number
}

export function predecessorOf({ header, trailer }: LtxSummary): Predecessor {
  const { maxTxid, pageSize, commit } = header
  return { txid: maxTxid, checksum: trailer.postApplyChecksum, pageSize, pageCount: commit }
}

/**
 * Whether the content without the WAL's `fresh` transactions is that of `base`, so that their pages alone lead from one to the other. False
 * also where it cannot be told any more: after a checkpoint beyond `base`, and where the database has shrunk since.
 */
export function leadsFrom(
  base: Predecessor,
  layout: DatabaseLayout,
  wal: FoundWal,
  fresh: readonly WalTransaction[],
  state: PageState,
): boolean {
  if (base.pageSize !== state.pageSize || base.pageCount > state.pageCount) return false
  const start = fresh[0]?.start ?? 0
  const earlier = newestImages(wal.transactions.filter((transaction) => transaction.start < start))
  const touched = [...newestImages(fresh).keys()].filter((pgno) => pgno <= base.pageCount)
  const sum = new Uint32Array(2)
  let { hi, lo } = state
  const toggle = () => {
    hi ^= sum[0] ?? 0
    lo ^= sum[1] ?? 0
  }
  for (let pgno = base.pageCount + 1; pgno <= state.pageCount; pgno++) {
    state.checksums.get(pgno, sum, 0)
    toggle()
  }
  const page = Buffer.alloc(state.pageSize)
  const database = fs.openSync(layout.database, 'r')
  try {
    for (const pgno of touched) {
      state.checksums.get(pgno, sum, 0)
      toggle()
      const offset = earlier.get(pgno)
      if (offset !== undefined) reader(wal.fd)(page, offset)
      else page.fill(0, reader(database)(page, (pgno - 1) * state.pageSize))
      pageChecksum(sum, 0, pgno, page, 0, page.length)
      toggle()
    }
  } finally {
    fs.closeSync(database)
  }
  return checksumFromHalves(hi, lo) === base.checksum
}

/** Byte offset of the last image of each page. */
function newestImages(transactions: readonly WalTransaction[]): Map<number, number> {
  const images = new Map<number, number>()
  for (const transaction of transactions) {
    for (const frame of lastFrames(transaction)) images.set(frame.pgno, frame.offset)
  }
  return images
}
