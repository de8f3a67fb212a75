import fs from 'node:fs'
import path from 'node:path'
import { LtxError } from '../ltx/error.js'
import { pageChecksum } from '../native.js'
import { parseDatabaseHeader } from '../sqlite/database-header.js'
import { DirtyPages } from './dirty-pages.js'
import type { DatabaseLayout } from './layout.js'
import { type LtxEntry, listLtxDirectory } from './ltx-directory.js'
import { type LtxSummary, withLtxFile } from './ltx-file.js'
import { rebuildDatabase } from './ltx-rebuild.js'
import { syncDirectory } from './ltx-spool.js'
import { scanPages } from './page-scan.js'
import type { PageState } from './page-state.js'
import { writeFully } from './write-fully.js'

/** LTX files that are looked through, newest first, for page 1. */
const COUNTER_SEARCH_FILES = 10_000

/**
 * Applies LTX files to a database file that is behind them: the newest content of each page, from the newest file backwards, until the
 * database's checksum is the newest file's. False when it never is; then the database file is unchanged and `state` means nothing.
 */
export function overtakeByLtx(layout: DatabaseLayout, newest: LtxSummary, state: PageState): boolean {
  const { commit, pageSize } = newest.header
  const target = newest.trailer.postApplyChecksum
  // Nothing of a file with another page size can stay: the files since the change have every page.
  if (state.pageSize !== pageSize) state.resize(0)
  state.pageSize = pageSize
  state.resize(commit)
  const needed: LtxEntry[] = []
  const seen = new DirtyPages()
  for (const entry of chainBackwards(layout, newest)) {
    if (state.checksum === target) break
    needed.push(entry)
    if (!takeChecksums(entry, pageSize, commit, seen, state)) return false
  }
  if (state.checksum !== target) return false
  if (commit === 0) removeDatabase(layout)
  else writePages(layout, needed, pageSize, commit)
  return true
}

/**
 * Rebuilds the database from LTX files alone, where they reach back to TXID 1, and fills `state` from the result. The content before is
 * kept; returns its path, or undefined where the LTX files do not suffice (nothing has changed then).
 */
export async function rebuildFromLtx(
  layout: DatabaseLayout,
  newest: LtxSummary,
  state: PageState,
): Promise<string | undefined> {
  const chain = [...chainBackwards(layout, newest)].reverse()
  if (chain[0]?.minTxid !== 1n) return undefined
  const rebuilt = path.join(layout.dir, 'database.rebuilt')
  try {
    await rebuildDatabase(
      rebuilt,
      chain.map((entry) => entry.path),
    )
  } catch (error) {
    if (error instanceof LtxError) return undefined
    throw error
  }
  const aside = keepDatabase(layout)
  fs.renameSync(rebuilt, layout.database)
  syncDirectory(layout.dir)
  await rescan(layout, newest, state)
  return aside
}

/** The change counter on the newest page 1 of the LTX files; undefined when none of those that lead to the newest has it. */
export function newestChangeCounter(layout: DatabaseLayout, newest: LtxSummary): number | undefined {
  let left = COUNTER_SEARCH_FILES
  for (const entry of chainBackwards(layout, newest)) {
    if (left-- === 0) return undefined
    const counter = withLtxFile(entry.path, { verifyPostApply: false }, (decoder) => {
      for (const page of decoder.pages())
        return page.pgno === 1 ? parseDatabaseHeader(page.data)?.changeCounter : undefined
      return undefined
    })
    if (counter !== undefined) return counter
  }
  return undefined
}

/** Keeps a copy of the database file as it is, beside it. Returns its path. */
export function keepDatabase(layout: DatabaseLayout): string {
  const aside = path.join(layout.dir, `database.mismatch-${new Date().toISOString().replaceAll(':', '')}`)
  if (fs.existsSync(layout.database)) fs.copyFileSync(layout.database, aside, fs.constants.COPYFILE_FICLONE)
  return aside
}

async function rescan(layout: DatabaseLayout, newest: LtxSummary, state: PageState): Promise<void> {
  state.resize(0)
  state.pageSize = newest.header.pageSize
  state.pageCount = newest.header.commit
  const fd = fs.openSync(layout.database, 'r')
  try {
    await scanPages(fd, state.pageSize, state.pageCount, state)
  } finally {
    fs.closeSync(fd)
  }
}

/** The LTX files that lead up to the newest, from it backwards, as far as one follows the other. */
export function* chainBackwards(layout: DatabaseLayout, newest: LtxSummary): Generator<LtxEntry> {
  let next = newest.header.maxTxid
  for (const entry of listLtxDirectory(layout.ltxDir).reverse()) {
    if (entry.maxTxid > next) continue
    if (entry.maxTxid < next) return
    yield entry
    next = entry.minTxid - 1n
  }
}

/** False when the file has another page size, so that the pages before it say nothing about those after it. */
function takeChecksums(entry: LtxEntry, pageSize: number, commit: number, seen: DirtyPages, state: PageState): boolean {
  const sum = new Uint32Array(2)
  return withLtxFile(entry.path, { verifyPostApply: false }, (decoder) => {
    if (decoder.header.pageSize !== pageSize) return false
    for (const page of decoder.pages()) {
      if (page.pgno > commit || seen.has(page.pgno)) continue
      seen.add(page.pgno)
      pageChecksum(sum, 0, page.pgno, page.data, 0, page.data.length)
      state.setPage(page.pgno, sum[0] ?? 0, sum[1] ?? 0)
    }
    return true
  })
}

function writePages(layout: DatabaseLayout, entries: readonly LtxEntry[], pageSize: number, commit: number): void {
  const fd = fs.openSync(layout.database, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o666)
  try {
    for (const entry of [...entries].reverse()) {
      withLtxFile(entry.path, { verifyPostApply: false }, (decoder) => {
        for (const page of decoder.pages()) {
          if (page.pgno <= commit) writeFully(fd, page.data, (page.pgno - 1) * pageSize)
        }
      })
    }
    fs.ftruncateSync(fd, commit * pageSize)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  syncDirectory(layout.dir)
}

function removeDatabase(layout: DatabaseLayout): void {
  fs.rmSync(layout.database, { force: true })
  syncDirectory(layout.dir)
}
