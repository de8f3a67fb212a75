import { isPadding, type WalTransaction } from '../sqlite/wal-scan.js'
import type { DatabaseLayout } from './layout.js'
import { listLtxDirectory } from './ltx-directory.js'
import { type LtxSummary, readLtxSummary } from './ltx-file.js'
import type { PageState } from './page-state.js'
import { reader } from './recover-journal.js'
import { chainBackwards } from './recover-ltx.js'
import { leadsFrom, predecessorOf } from './recover-predecessor.js'
import type { FoundWal } from './recover-wal.js'

/** LTX files that are looked through, newest first, for the WAL generation on disk, or for the content that it makes. */
const SEARCH_FILES = 20_000
/** Transactions that a WAL may be ahead of the newest LTX file of another node. More are captured as they are. */
const AHEAD = 16

/**
 * The transactions in the WAL after the newest LTX file; none when the WAL is of its time or older. LTX files of this node say where in the WAL
 * they are from. Those that were received do not: there the content decides, `state`, which is that of the database with the whole WAL.
 */
export function freshTransactions(
  layout: DatabaseLayout,
  newest: LtxSummary,
  wal: FoundWal,
  state: PageState,
): readonly WalTransaction[] {
  const { header } = newest
  const transactions = withoutPadding(wal)
  if (sameGeneration(header, wal)) {
    return transactions.filter((transaction) => transaction.start >= header.walOffset + header.walSize)
  }
  if (isOlderGeneration(layout, wal)) return []
  const base = predecessorOf(newest)
  for (let ahead = 1; ahead <= Math.min(AHEAD, transactions.length); ahead++) {
    const fresh = transactions.slice(-ahead)
    if (leadsFrom(base, layout, wal, fresh, state)) return fresh
  }
  return isBehind(layout, newest, state) ? [] : transactions
}

/** Whether the content is what the LTX files made before the newest one: the crash came between storing that and applying it. */
function isBehind(layout: DatabaseLayout, newest: LtxSummary, state: PageState): boolean {
  let left = SEARCH_FILES
  for (const entry of chainBackwards(layout, newest)) {
    if (left-- === 0) return false
    if (readLtxSummary(entry.path).header.preApplyChecksum === state.checksum) return true
  }
  return false
}

/** Frames that only repeat a commit frame spent no TXID when they were captured, so they must not here. */
function withoutPadding(wal: FoundWal): WalTransaction[] {
  const readAt = reader(wal.fd)
  return wal.transactions.filter((transaction, i, all) => {
    const previous = all[i - 1]
    return previous === undefined || !isPadding(wal.header, previous, transaction, readAt)
  })
}

function sameGeneration(header: LtxSummary['header'], wal: FoundWal): boolean {
  return header.walOffset > 0 && header.walSalt1 === wal.header.salt1 && header.walSalt2 === wal.header.salt2
}

/** Whether an older LTX file came from this WAL: then the newest one came after it, and the WAL's end is stale. */
function isOlderGeneration(layout: DatabaseLayout, wal: FoundWal): boolean {
  const entries = listLtxDirectory(layout.ltxDir).reverse().slice(1, SEARCH_FILES)
  return entries.some((entry) => sameGeneration(readLtxSummary(entry.path).header, wal))
}
