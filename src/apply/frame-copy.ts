import fs from 'node:fs'
import { writeFully } from '../db/write-fully.js'
import { FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../sqlite/wal.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'

/** Bytes that are written at once: what FUSE takes in one request. */
const RUN_SIZE = 1 << 20
/** More pages than an ordinary checkpoint has are not kept in the kernel's cache of the mount: nobody reads them all soon, and memory costs time. */
const DIRECT_PAGES = 1500

export interface CopiedFiles {
  /** Descriptors. */
  readonly database: number
  /** Of the database file too, opened with O_DIRECT. */
  direct(): number
  readonly wal: number
  readonly pageSize: number
}

interface Frame {
  readonly pgno: number
  readonly frame: number
}

/**
 * Brings the newest of the frames after `from`, up to `to`, of each page to the database file, neighbours with one write: SQLite writes each
 * page by itself, which on the mount is a request each. Under the checkpointer's locks. Throws a system error.
 */
export function copyFrames(
  files: CopiedFiles,
  { mxFrame, nPage }: WalIndexHeader,
  log: { pgno(frame: number): number },
  { from, to }: { readonly from: number; readonly to: number },
): void {
  const { pageSize } = files
  const newest = new Map<number, number>()
  for (let frame = from + 1; frame <= to; frame++) newest.set(log.pgno(frame), frame)
  // What a later transaction has cut off is of no account.
  const frames = Array.from(newest, ([pgno, frame]): Frame => ({ pgno, frame })).filter(({ pgno }) => pgno <= nPage)
  frames.sort((a, b) => a.pgno - b.pgno)
  const database = frames.length < DIRECT_PAGES ? files.database : files.direct()
  const most = Math.min(frames.length, Math.floor(RUN_SIZE / pageSize))
  const pages = Buffer.allocUnsafe(most * pageSize)
  const read = Buffer.allocUnsafe(most * (FRAME_HEADER_SIZE + pageSize))
  for (let start = 0; start < frames.length; ) {
    const run = neighbours(frames, start, most)
    readPages(files, run, read, pages)
    writeFully(database, pages.subarray(0, run.length * pageSize), ((run[0]?.pgno ?? 1) - 1) * pageSize)
    start += run.length
  }
  const size = nPage * pageSize
  if (to === mxFrame && fs.fstatSync(files.database).size !== size) fs.ftruncateSync(files.database, size)
}

/** Frames of consecutive pages, from the one at `start` on. */
function neighbours(frames: readonly Frame[], start: number, most: number): readonly Frame[] {
  let end = start + 1
  while (end < frames.length && end - start < most && frames[end]?.pgno === (frames[end - 1]?.pgno ?? 0) + 1) end++
  return frames.slice(start, end)
}

/** Frames that lie one behind the other are read at once. */
function readPages({ wal, pageSize }: CopiedFiles, frames: readonly Frame[], read: Buffer, pages: Buffer): void {
  const frameSize = FRAME_HEADER_SIZE + pageSize
  for (let start = 0; start < frames.length; ) {
    const first = frames[start]?.frame ?? 0
    let end = start + 1
    while (frames[end]?.frame === first + end - start) end++
    const bytes = read.subarray(0, (end - start) * frameSize)
    readFully(wal, bytes, WAL_HEADER_SIZE + (first - 1) * frameSize)
    for (let i = start; i < end; i++) {
      const at = (i - start) * frameSize
      bytes.copy(pages, i * pageSize, at + FRAME_HEADER_SIZE, at + frameSize)
    }
    start = end
  }
}

function readFully(wal: number, into: Buffer, offset: number): void {
  for (let done = 0; done < into.length; ) {
    const count = fs.readSync(wal, into, done, into.length - done, offset + done)
    if (count === 0) throw new Error(`Cannot read the log at ${offset + done}: it ends before`)
    done += count
  }
}
