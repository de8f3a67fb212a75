import fs from 'node:fs'
import path from 'node:path'
import { parseWalHeader, WAL_HEADER_SIZE, type WalHeader } from '../sqlite/wal.js'
import { firstCursor, lastFrames, type ReadAt, type WalTransaction, walTransactions } from '../sqlite/wal-scan.js'
import type { DatabaseLayout } from './layout.js'
import { syncDirectory } from './ltx-spool.js'
import { reader } from './recover-journal.js'
import { writeFully } from './write-fully.js'

/** The committed content of a WAL. */
export interface WalContent {
  readonly header: WalHeader
  /** At least one. */
  readonly transactions: readonly WalTransaction[]
  /** Byte offset of the newest image of each page, whatever the database's final size. */
  readonly images: ReadonlyMap<number, number>
  /** Pages of the database after the last transaction. */
  readonly pageCount: number
}

/** A WAL that a start found. */
export interface FoundWal extends WalContent {
  readonly fd: number
}

/** Opens the WAL if it holds a transaction; the caller closes `fd`. */
export function findWal(layout: DatabaseLayout): FoundWal | undefined {
  if (!fs.existsSync(layout.wal)) return undefined
  const fd = fs.openSync(layout.wal, 'r')
  const content = readWal(reader(fd))
  if (content !== undefined) return { ...content, fd }
  fs.closeSync(fd)
  return undefined
}

/** Copies the WAL's pages into the database and removes it. Does the same again when it was interrupted. */
export function foldWal(layout: DatabaseLayout, wal: FoundWal): void {
  const { pageSize } = wal.header
  const database = fs.openSync(layout.database, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o666)
  const page = Buffer.alloc(pageSize)
  try {
    for (const [pgno, offset] of wal.images) {
      if (pgno > wal.pageCount) continue
      reader(wal.fd)(page, offset)
      writeFully(database, page, (pgno - 1) * pageSize)
    }
    fs.ftruncateSync(database, wal.pageCount * pageSize)
    fs.fsyncSync(database)
  } finally {
    fs.closeSync(database)
  }
  removeWal(layout)
}

/** Removes a WAL whose content is known to be in the database, or to be nothing. */
export function removeWal(layout: DatabaseLayout): void {
  if (!fs.existsSync(layout.wal)) return
  fs.unlinkSync(layout.wal)
  syncDirectory(path.dirname(layout.wal))
}

/** Undefined when the WAL holds no transaction. */
export function readWal(readAt: ReadAt): WalContent | undefined {
  const bytes = Buffer.alloc(WAL_HEADER_SIZE)
  if (readAt(bytes, 0) < WAL_HEADER_SIZE) return undefined
  const header = parseWalHeader(bytes)
  if (header === undefined) return undefined
  const transactions: WalTransaction[] = []
  const images = new Map<number, number>()
  for (const transaction of walTransactions(header, firstCursor(header), readAt)) {
    transactions.push(transaction)
    for (const frame of lastFrames(transaction)) images.set(frame.pgno, frame.offset)
  }
  const last = transactions.at(-1)
  return last === undefined ? undefined : { header, transactions, images, pageCount: last.commit }
}
