import fs from 'node:fs'
import type { Log } from '../log.js'
import { CHECKSUM_FLAG, lockPage } from '../ltx/checksum.js'
import { LtxError } from '../ltx/error.js'
import { pageChecksum } from '../native.js'
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  databasePageCount,
  isCutShort,
  isWalMode,
  parseDatabaseHeader,
} from '../sqlite/database-header.js'
import type { CommitSettings } from './committer.js'
import type { DatabaseStart } from './database-watcher.js'
import type { DatabaseLayout } from './layout.js'
import { newestEntry } from './ltx-directory.js'
import { type LtxSummary, readLtxSummary, withLtxFile } from './ltx-file.js'
import { syncDirectory } from './ltx-spool.js'
import { scanPages } from './page-scan.js'
import { FLAG_HI, PageState } from './page-state.js'
import { captureRecovered } from './recover-capture.js'
import { freshTransactions } from './recover-fresh.js'
import { reader, recoverJournal, removeJournal } from './recover-journal.js'
import { keepDatabase, newestChangeCounter, overtakeByLtx, rebuildFromLtx } from './recover-ltx.js'
import { type Predecessor, predecessorOf } from './recover-predecessor.js'
import { type FoundWal, findWal, foldWal, removeWal } from './recover-wal.js'
import { loadChecksums } from './saved-checksums.js'

/**
 * An LTX file up to this size (bytes) is read whole to see whether it is sound. Larger ones were on disk before they had their name, so
 * their ends suffice as long as they say what the database's content says too.
 */
const READ_WHOLE_BYTES = 64 << 20
/** A database whose content and LTX files cannot be brought together. The store sets it aside. */
export class RecoveryError extends Error {}

export interface RecoverySettings extends CommitSettings {
  readonly log: Log
  /** Whether the super-journal that a journal names still exists. */
  readonly superJournalExists: (name: string) => boolean
}

/**
 * Brings one database to the newest transaction that this node ever acknowledged, whatever state a crash left it in, and returns its
 * position and page checksums. Afterwards there is no hot journal and no WAL, and the database file is that transaction's content.
 * Every step can be interrupted and done again. Throws RecoveryError, or a system error (then nothing is wrong with the database).
 */
export async function recoverDatabase(layout: DatabaseLayout, settings: RecoverySettings): Promise<DatabaseStart> {
  fs.mkdirSync(layout.ltxDir, { recursive: true })
  fs.rmSync(layout.shm, { force: true })
  const names = fs.readdirSync(layout.ltxDir)
  for (const name of names) if (name.endsWith('.tmp')) fs.rmSync(`${layout.ltxDir}/${name}`)
  const highestTxid = newestEntry(layout.ltxDir, names)?.maxTxid ?? 0n
  const ended = newestLtx(layout, names, settings.log, readLtxSummary)
  const stoppedCleanly = fs.existsSync(layout.checksums)
  const saved = loadChecksums(layout, ended)
  const journal = recoverJournal(layout, settings.superJournalExists)
  if (journal !== 'none') settings.log.info(`${layout.dir}: found a hot journal: ${journal}`)
  if (isEmpty(layout.database)) removeWal(layout)
  const wal = findWal(layout)
  try {
    const known = saved !== undefined && isKnown(saved, wal) ? saved : undefined
    const state = known ?? (await contentOf(layout, wal))
    const check = (file: string) => checkedSummary(file, state)
    const newest = known !== undefined ? ended : newestLtx(layout, names, settings.log, check)
    const found = {
      newest,
      highestTxid,
      wal,
      uncaptured: journal === 'committed',
      rolledBack: journal === 'rolled back',
      stoppedCleanly,
    }
    const lastCommitMs = await reconcile(layout, settings, found, state)
    if (wal === undefined) removeWal(layout)
    else if (fs.existsSync(layout.wal)) foldWal(layout, wal)
    if (journal === 'committed') removeJournal(layout)
    extendToSize(layout, state)
    return { state, lastCommitMs }
  } catch (error) {
    if (!(error instanceof LtxError)) throw error
    throw new RecoveryError(`Cannot recover database: ${error.message}`, { cause: error })
  } finally {
    if (wal !== undefined) fs.closeSync(wal.fd)
  }
}

/** SQLite takes the WAL of a database without pages for a leftover and deletes it. */
function isEmpty(database: string): boolean {
  return (fs.statSync(database, { throwIfNoEntry: false })?.size ?? 0) === 0
}

/** Pages of zeros at the end may be missing from the file; SQLite takes a file that is shorter than its header says for malformed. */
function extendToSize(layout: DatabaseLayout, state: PageState): void {
  const size = state.pageCount * state.pageSize
  if (size === 0 || fs.statSync(layout.database).size >= size) return
  const fd = fs.openSync(layout.database, 'r+')
  try {
    fs.ftruncateSync(fd, size)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

interface Found {
  readonly newest: LtxSummary | undefined
  /** Of all LTX files, unsound ones too: no TXID is given out twice. */
  readonly highestTxid: bigint
  readonly wal: FoundWal | undefined
  /** A transaction was committed by its super-journal and has no LTX file. */
  readonly uncaptured: boolean
  /** A transaction that was under way has been undone. */
  readonly rolledBack: boolean
  /** Content and LTX files agreed when litefs last ended. */
  readonly stoppedCleanly: boolean
}

/** Makes content and LTX files agree: `state`, which holds the content's pages, gets its position. Returns the time of the last transaction. */
async function reconcile(
  layout: DatabaseLayout,
  settings: RecoverySettings,
  { newest, highestTxid, wal, uncaptured, rolledBack, stoppedCleanly }: Found,
  state: PageState,
): Promise<number> {
  if (newest === undefined) {
    state.txid = highestTxid
    if (state.pageCount === 0) return 0
    if (wal === undefined && isHalfCopy(layout)) {
      state.resize(0)
      state.pageSize = 0
      return 0
    }
    return captureRecovered(layout, settings, state, afterUnsound(highestTxid), wal, [])
  }
  state.txid = newest.header.maxTxid
  if (isContent(state, newest)) return newest.header.timestamp
  const fresh = wal === undefined ? [] : freshTransactions(layout, newest, wal, state)
  if (fresh.length > 0 || uncaptured) {
    settings.log.info(`${layout.dir}: captures what was committed after TXID ${newest.header.maxTxid}`)
    return captureRecovered(layout, settings, state, predecessorOf(newest), wal, fresh)
  }
  if (wal === undefined && !rolledBack && isNewer(layout, newest) && !isHalfCopy(layout)) {
    settings.log.warn(
      `${layout.dir}: was changed without a journal after TXID ${newest.header.maxTxid}: captures it as it is`,
    )
    return captureRecovered(layout, settings, state, predecessorOf(newest), undefined, [])
  }
  if (stoppedCleanly || isForeign(layout)) {
    const aside = keepDatabase(layout)
    settings.log.warn(
      `${layout.dir}: is not what its LTX files lead to; the content that did not match is kept in ${aside}`,
    )
  }
  settings.log.info(`${layout.dir}: applies LTX files up to TXID ${newest.header.maxTxid} again`)
  if (wal !== undefined) foldWal(layout, wal)
  if (!overtakeByLtx(layout, newest, state)) {
    const aside = await rebuildFromLtx(layout, newest, state)
    if (aside === undefined) {
      throw new RecoveryError(
        `Cannot recover database: its content (checksum ${state.checksum.toString(16)}) is not that of its newest LTX file ` +
          `(${newest.path}), and its LTX files do not reach back to its beginning`,
      )
    }
    settings.log.warn(
      `${layout.dir}: rebuilt from its LTX files; the content that did not match them is kept in ${aside}`,
    )
  }
  return newest.header.timestamp
}

/** Whether a database in a rollback mode has gone on since the newest LTX file: by writes that no journal announced. */
function isNewer(layout: DatabaseLayout, newest: LtxSummary): boolean {
  const header = headerOf(layout)
  if (header === undefined || isWalMode(header)) return false
  const counter = newestChangeCounter(layout, newest)
  return counter !== undefined && header.changeCounter > counter
}

/** Whether the file holds the beginning of a database only. */
function isHalfCopy(layout: DatabaseLayout): boolean {
  const header = headerOf(layout)
  return header !== undefined && isCutShort(header, fs.statSync(layout.database).size)
}

/** Whether the file has content that is not a database's. */
function isForeign(layout: DatabaseLayout): boolean {
  return !isEmpty(layout.database) && headerOf(layout) === undefined
}

function headerOf(layout: DatabaseLayout): DatabaseHeader | undefined {
  if (isEmpty(layout.database)) return undefined
  const fd = fs.openSync(layout.database, 'r')
  try {
    const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
    reader(fd)(bytes, 0)
    return parseDatabaseHeader(bytes)
  } finally {
    fs.closeSync(fd)
  }
}

/** LTX files whose content is lost: what follows them starts from nothing, as after a drop. */
function afterUnsound(txid: bigint): Predecessor | undefined {
  return txid === 0n ? undefined : { txid, checksum: CHECKSUM_FLAG, pageSize: 0, pageCount: 0 }
}

/** The newest LTX file that `check` finds sound; unsound ones after it are renamed, also in `names`. */
function newestLtx(
  layout: DatabaseLayout,
  names: string[],
  log: Log,
  check: (file: string) => LtxSummary,
): LtxSummary | undefined {
  for (;;) {
    const entry = newestEntry(layout.ltxDir, names)
    if (entry === undefined) return undefined
    try {
      return check(entry.path)
    } catch (error) {
      if (!(error instanceof LtxError)) throw error
      log.warn(`${entry.path}: set aside as ${entry.name}.invalid: ${error.message}`)
      fs.renameSync(entry.path, `${entry.path}.invalid`)
      syncDirectory(layout.ltxDir)
      names.splice(names.indexOf(entry.name), 1)
    }
  }
}

/** Reads an LTX file as far as it takes to rely on it. Throws LtxError. */
function checkedSummary(file: string, content: PageState): LtxSummary {
  const summary = readLtxSummary(file)
  if (summary.size > READ_WHOLE_BYTES && isContent(content, summary)) return summary
  withLtxFile(file, { verifyPostApply: false }, (decoder) => {
    for (const _page of decoder.pages());
    return decoder.trailer
  })
  return summary
}

function isContent(state: PageState, { header, trailer }: LtxSummary): boolean {
  return state.checksum === trailer.postApplyChecksum && state.pageCount === header.commit
}

/** Whether the state has all that SQLite would find in the WAL, and not a transaction less. */
function isKnown(state: PageState, wal: FoundWal | undefined): boolean {
  if (wal === undefined) return true
  const { pageSize } = wal.header
  if (pageSize !== state.pageSize || wal.pageCount !== state.pageCount) return false
  const page = Buffer.alloc(pageSize)
  const lock = lockPage(pageSize)
  const sums = new Uint32Array(4)
  for (const [pgno, offset] of wal.images) {
    if (pgno > wal.pageCount || pgno === lock) continue
    reader(wal.fd)(page, offset)
    pageChecksum(sums, 0, pgno, page, 0, pageSize)
    state.checksums.get(pgno, sums, 1)
    if (sums[0] !== sums[2] || sums[1] !== sums[3]) return false
  }
  return true
}

/** Page checksums of the content: the database file, and over it what the WAL has. */
async function contentOf(layout: DatabaseLayout, wal: FoundWal | undefined): Promise<PageState> {
  const state = new PageState()
  if (fs.existsSync(layout.database)) {
    const fd = fs.openSync(layout.database, 'r')
    try {
      await scanFile(fd, wal, state)
    } finally {
      fs.closeSync(fd)
    }
  }
  if (wal !== undefined) overlay(wal, state)
  return state
}

async function scanFile(fd: number, wal: FoundWal | undefined, state: PageState): Promise<void> {
  const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
  reader(fd)(bytes, 0)
  const header = parseDatabaseHeader(bytes)
  const pageSize = wal?.header.pageSize ?? header?.pageSize
  if (pageSize === undefined) return
  const { size } = fs.fstatSync(fd)
  const pageCount = wal?.pageCount ?? (header === undefined ? 0 : databasePageCount(header, size))
  state.pageSize = pageSize
  state.pageCount = pageCount
  await scanPages(fd, pageSize, pageCount, state)
  fillMissing(state, Math.floor(size / pageSize) + 1)
}

function overlay(wal: FoundWal, state: PageState): void {
  const { pageSize } = wal.header
  const page = Buffer.alloc(pageSize)
  const lock = lockPage(pageSize)
  for (const [pgno, offset] of wal.images) {
    if (pgno > wal.pageCount || pgno === lock) continue
    reader(wal.fd)(page, offset)
    setPage(state, pgno, page)
  }
}

/** Pages from `first` on are beyond the end of the file and read as zeros. */
function fillMissing(state: PageState, first: number): void {
  const zeros = Buffer.alloc(state.pageSize)
  const lock = lockPage(state.pageSize)
  for (let pgno = first; pgno <= state.pageCount; pgno++) if (pgno !== lock) setPage(state, pgno, zeros)
}

function setPage(state: PageState, pgno: number, page: Uint8Array): void {
  const sum = new Uint32Array(2)
  pageChecksum(sum, 0, pgno, page, 0, page.length)
  state.setPage(pgno, sum[0] ?? FLAG_HI, sum[1] ?? 0)
}
