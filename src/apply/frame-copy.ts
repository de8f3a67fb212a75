import fs from 'node:fs'
import { writeFully } from '../db/write-fully.js'
import { FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../sqlite/wal.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'

/** Bytes that are written at once: what FUSE takes in one request. */
const RUN_SIZE = 1 << 20

export interface CopiedFiles {
  /** Descriptors. */
  readonly database: number
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
  const { database, pageSize } = files
  const newest = new Map<number, number>()
  for (let frame = from + 1; frame <= to; frame++) newest.set(log.pgno(frame), frame)
  // What a later transaction has cut off is of no account.
  const frames = Array.from(newest, ([pgno, frame]): Frame => ({ pgno, frame })).filter(({ pgno }) => pgno <= nPage)
  frames.sort((a, b) => a.pgno - b.pgno)
  const buffer = Buffer.allocUnsafe(Math.min(frames.length * pageSize, RUN_SIZE))
  for (let start = 0; start < frames.length; ) {
    const run = neighbours(frames, start, RUN_SIZE / pageSize)
    run.forEach(({ frame }, i) => {
      readFrame(files, frame, buffer.subarray(i * pageSize, (i + 1) * pageSize))
    })
    writeFully(database, buffer.subarray(0, run.length * pageSize), ((run[0]?.pgno ?? 1) - 1) * pageSize)
    start += run.length
  }
  const size = nPage * pageSize
  if (to === mxFrame && fs.fstatSync(database).size !== size) fs.ftruncateSync(database, size)
}

/** Frames of consecutive pages, from the one at `start` on. */
function neighbours(frames: readonly Frame[], start: number, most: number): readonly Frame[] {
  let end = start + 1
  while (end < frames.length && end - start < most && frames[end]?.pgno === (frames[end - 1]?.pgno ?? 0) + 1) end++
  return frames.slice(start, end)
}

function readFrame({ wal, pageSize }: CopiedFiles, frame: number, into: Buffer): void {
  const offset = WAL_HEADER_SIZE + (frame - 1) * (FRAME_HEADER_SIZE + pageSize) + FRAME_HEADER_SIZE
  for (let done = 0; done < into.length; ) {
    const count = fs.readSync(wal, into, done, into.length - done, offset + done)
    if (count === 0) throw new Error(`Cannot read frame ${frame} of the log: it ends before`)
    done += count
  }
}
