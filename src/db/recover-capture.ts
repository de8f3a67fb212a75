import fs from 'node:fs'
import path from 'node:path'
import { lockPage } from '../ltx/checksum.js'
import { LtxEncoder } from '../ltx/encoder.js'
import { formatLtxName } from '../ltx/names.js'
import { lastFrames, type WalTransaction } from '../sqlite/wal-scan.js'
import type { CommitSettings } from './committer.js'
import type { DatabaseLayout } from './layout.js'
import { LtxSpool } from './ltx-spool.js'
import type { PageState } from './page-state.js'
import { reader } from './recover-journal.js'
import { leadsFrom, type Predecessor } from './recover-predecessor.js'
import type { FoundWal } from './recover-wal.js'
import { NO_WAL, type WalSpan, withGrowth } from './transaction.js'

/**
 * Makes one durable LTX file of content that has none. `fresh` are the WAL transactions that are missing: the file spans as many TXIDs as
 * they had, so that positions which others may know stay right. Only their pages go in where those lead from `base` to the content, else
 * every page. `state` has the content's checksums and gets the new position. Returns the file's time, milliseconds.
 */
export function captureRecovered(
  layout: DatabaseLayout,
  settings: CommitSettings,
  state: PageState,
  base: Predecessor | undefined,
  found: FoundWal | undefined,
  fresh: readonly WalTransaction[],
): number {
  const minTxid = (base?.txid ?? 0n) + 1n
  const maxTxid = minTxid + BigInt(Math.max(0, base === undefined ? 0 : fresh.length - 1))
  const incremental =
    base !== undefined && found !== undefined && fresh.length > 0 && leadsFrom(base, layout, found, fresh, state)
  const pgnos = incremental ? freshPages(fresh, base.pageCount, state) : allPages(state)
  const timestamp = settings.now()
  const wal = found === undefined || fresh.length === 0 ? NO_WAL : spanOf(found, fresh)
  const spool = new LtxSpool(layout.ltxDir)
  const encoder = new LtxEncoder((chunk) => spool.write(chunk), { compress: settings.compress })
  encoder.header({
    flags: 0,
    pageSize: state.pageSize,
    commit: state.pageCount,
    minTxid,
    maxTxid,
    timestamp,
    preApplyChecksum: base?.checksum ?? 0n,
    walOffset: wal.offset,
    walSize: wal.size,
    walSalt1: wal.salt1,
    walSalt2: wal.salt2,
    nodeId: settings.nodeId,
  })
  writePages(layout, found, pgnos, state.pageSize, encoder)
  encoder.close(state.checksum)
  const file = path.join(layout.ltxDir, formatLtxName(minTxid, maxTxid))
  settings.sink.sync(spool.store(file, settings.sink))
  state.txid = maxTxid
  return timestamp
}

function writePages(
  layout: DatabaseLayout,
  wal: FoundWal | undefined,
  pgnos: Uint32Array,
  pageSize: number,
  encoder: LtxEncoder,
): void {
  const page = Buffer.alloc(pageSize)
  const database = fs.existsSync(layout.database) ? fs.openSync(layout.database, 'r') : undefined
  try {
    for (const pgno of pgnos) {
      const offset = wal?.images.get(pgno)
      if (offset !== undefined && wal !== undefined) reader(wal.fd)(page, offset)
      else page.fill(0, database === undefined ? 0 : reader(database)(page, (pgno - 1) * pageSize))
      encoder.page(pgno, page)
    }
  } finally {
    if (database !== undefined) fs.closeSync(database)
  }
}

function freshPages(fresh: readonly WalTransaction[], oldCount: number, state: PageState): Uint32Array {
  const touched = new Set<number>()
  for (const transaction of fresh) for (const frame of lastFrames(transaction)) touched.add(frame.pgno)
  const logged = Uint32Array.from(touched)
    .filter((pgno) => pgno <= state.pageCount)
    .sort()
  return withGrowth(logged, oldCount, state.pageCount, state.pageSize)
}

function allPages(state: PageState): Uint32Array {
  const lock = lockPage(state.pageSize)
  const pgnos = new Uint32Array(state.pageCount - (state.pageCount >= lock ? 1 : 0))
  for (let i = 0; i < pgnos.length; i++) pgnos[i] = i + 1 < lock ? i + 1 : i + 2
  return pgnos
}

function spanOf(found: FoundWal, fresh: readonly WalTransaction[]): WalSpan {
  const start = fresh[0]?.start ?? 0
  const end = fresh.at(-1)?.end.offset ?? 0
  return { offset: start, size: end - start, salt1: found.header.salt1, salt2: found.header.salt2 }
}
