import fs from 'node:fs'
import path from 'node:path'
import { lockPage } from '../ltx/checksum.js'
import { LtxEncoder } from '../ltx/encoder.js'
import { formatLtxName } from '../ltx/names.js'
import { lastFrames } from '../sqlite/wal-scan.js'
import type { CommitSettings } from './committer.js'
import type { DatabaseLayout } from './layout.js'
import type { LtxSummary } from './ltx-file.js'
import { LtxSpool } from './ltx-spool.js'
import type { PageState } from './page-state.js'
import { reader } from './recover-journal.js'
import type { FoundWal } from './recover-wal.js'
import { NO_WAL, withGrowth } from './transaction.js'

/**
 * Makes one durable LTX file of content that has none. `fresh` holds the WAL transactions that are missing: the file spans as many TXIDs
 * as they had, so that positions which others may know stay right. Without `fresh`, or without a file before it, every page goes in.
 * `state` has the content's checksums and gets the new position. Returns the file's time, milliseconds.
 */
export function captureRecovered(
  layout: DatabaseLayout,
  settings: CommitSettings,
  state: PageState,
  newest: LtxSummary | undefined,
  fresh: FoundWal | undefined,
): number {
  const minTxid = (newest?.header.maxTxid ?? 0n) + 1n
  const incremental = newest !== undefined && fresh !== undefined && newest.header.pageSize === state.pageSize
  const maxTxid = incremental ? minTxid + BigInt(fresh.transactions.length - 1) : minTxid
  const pgnos = incremental ? freshPages(fresh, newest.header.commit, state) : allPages(state)
  const timestamp = settings.now()
  const wal = incremental ? spanOf(fresh) : NO_WAL
  const spool = new LtxSpool(layout.ltxDir)
  const encoder = new LtxEncoder((chunk) => spool.write(chunk), { compress: settings.compress })
  encoder.header({
    flags: 0,
    pageSize: state.pageSize,
    commit: state.pageCount,
    minTxid,
    maxTxid,
    timestamp,
    preApplyChecksum: newest?.trailer.postApplyChecksum ?? 0n,
    walOffset: wal.offset,
    walSize: wal.size,
    walSalt1: wal.salt1,
    walSalt2: wal.salt2,
    nodeId: settings.nodeId,
  })
  writePages(layout, fresh, pgnos, state.pageSize, encoder)
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

function freshPages(fresh: FoundWal, oldCount: number, state: PageState): Uint32Array {
  const touched = new Set<number>()
  for (const transaction of fresh.transactions) for (const frame of lastFrames(transaction)) touched.add(frame.pgno)
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

function spanOf(fresh: FoundWal) {
  const start = fresh.transactions[0]?.start ?? 0
  const end = fresh.transactions.at(-1)?.end.offset ?? 0
  return { offset: start, size: end - start, salt1: fresh.header.salt1, salt2: fresh.header.salt2 }
}
