import { ChunkReader, MAX_CHUNK_SIZE } from '../sqlite/chunk-reader.js'
import type { WalHeader } from '../sqlite/wal.js'
import { lastFrames, type ReadAt, type WalPage, type WalTransaction } from '../sqlite/wal-scan.js'
import { readUnloggedPage } from './capture-wal-content.js'
import type { DatabaseFiles } from './database-files.js'
import type { PageState } from './page-state.js'
import { type TransactionPages, withGrowth } from './transaction.js'

/** Puts the page image at an offset of the WAL into `into`; throws when it is not there. */
type ReadImage = (offset: number, into: Uint8Array) => void

/** Where images are read to that lie one behind the other. */
const scratch = new Uint8Array(MAX_CHUNK_SIZE)

/** The pages of a transaction in the WAL of a database that is in this `state`. `readAt` reads the WAL. */
export function walPages(
  { pageSize }: WalHeader,
  transaction: WalTransaction,
  state: Pick<PageState, 'pageSize' | 'pageCount'>,
  files: DatabaseFiles,
  readAt: ReadAt,
): TransactionPages {
  const frames = lastFrames(transaction)
  const logged = Uint32Array.from(frames, (frame) => frame.pgno)
  // A WAL of another page size, put beside the database: SQLite goes by the WAL, and then every page is a new one.
  const known = pageSize === state.pageSize ? state.pageCount : 0
  const pgnos = withGrowth(logged, known, transaction.commit, pageSize)
  const pageCount = transaction.commit
  const readImage = imageReader(frames, transaction.end.offset, readAt)
  if (pgnos === logged) return { pageSize, pageCount, pgnos, read: (i, into) => readImage(offsetOf(frames[i]), into) }
  const byPgno = new Map(frames.map((frame) => [frame.pgno, frame]))
  const read = (index: number, into: Uint8Array) => {
    const pgno = pgnos[index] ?? 0
    const frame = byPgno.get(pgno)
    if (frame === undefined) readUnloggedPage(files, readAt, transaction.start, pgno, into)
    else readImage(frame.offset, into)
  }
  return { pageSize, pageCount, pgnos, read }
}

/** An applier's frames lie in the order of their pages, a large transaction's of SQLite nearly: those are read many at once. */
function imageReader(frames: readonly WalPage[], end: number, readAt: ReadAt): ReadImage {
  if (frames.length > 1 && frames.every(({ frame }, i) => i === 0 || frame > (frames[i - 1]?.frame ?? 0))) {
    const reader = new ChunkReader(readAt, scratch, end)
    return (offset, into) => {
      const at = reader.find(offset, into.length)
      if (at < 0) throw new Error('a frame is not in the WAL')
      into.set(scratch.subarray(at, at + into.length))
    }
  }
  return (offset, into) => {
    if (readAt(into, offset) !== into.length) throw new Error('a frame is not in the WAL')
  }
}

function offsetOf(frame: WalPage | undefined): number {
  return frame?.offset ?? -1
}
