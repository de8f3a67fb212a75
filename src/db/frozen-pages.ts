import fs from 'node:fs'
import { promisify } from 'node:util'
import { checksumFromHalves, lockPage } from '../ltx/checksum.js'
import { formatTxid } from '../ltx/names.js'
import { pageChecksum } from '../native.js'
import { FRAME_HEADER_SIZE } from '../sqlite/wal.js'
import { BROKEN, type FrozenPages, frameOffset, PAGES_READ } from './page-freeze.js'

const read = promisify(fs.read)

/** Bytes that are read at once. */
const RUN_SIZE = 1 << 20

/** What was read is not the database that was captured. */
export class ContentError extends Error {
  override name = 'ContentError'
}

/** Consecutive pages. */
export interface PageRun {
  readonly firstPgno: number
  /** Whole pages; valid until the next run is asked for. */
  readonly bytes: Buffer
}

/**
 * All pages of a frozen database in order, the lock page as zeros. The database's checksum is found right before the last of them come. Throws when a
 * page is not what it was, which must not be: what was read is useless then.
 */
export async function* readFrozenPages(frozen: FrozenPages): AsyncGenerator<PageRun, void> {
  const { pageSize, pageCount, databaseFd, control, position } = frozen
  const runPages = Math.max(1, Math.floor(RUN_SIZE / pageSize))
  const buffer = Buffer.allocUnsafeSlow(runPages * pageSize)
  const sum = new Uint32Array(2)
  for (let first = 1; first <= pageCount; first += runPages) {
    const last = Math.min(pageCount, first + runPages - 1)
    const bytes = buffer.subarray(0, (last - first + 1) * pageSize)
    await readFully(databaseFd, bytes, (first - 1) * pageSize)
    for (let pgno = first; pgno <= last; pgno++) {
      const page = bytes.subarray((pgno - first) * pageSize, (pgno - first + 1) * pageSize)
      putMoved(frozen, pgno, page)
      addChecksum(sum, pgno, page)
    }
    if (Atomics.load(control, BROKEN) !== 0) throw new Error('Cannot read snapshot: a page could not be kept for it')
    // Before the last pages: whoever has them all takes them for right.
    if (last === pageCount) checkSum(sum, position.checksum)
    yield { firstPgno: first, bytes }
    Atomics.store(control, PAGES_READ, last)
  }
  if (pageCount === 0) checkSum(sum, position.checksum)
}

function checkSum(sum: Uint32Array, wanted: bigint): void {
  const checksum = checksumFromHalves(sum[0] ?? 0, sum[1] ?? 0)
  if (checksum === wanted) return
  const found = formatTxid(checksum)
  throw new ContentError(`Cannot read snapshot: its checksum should be ${formatTxid(wanted)} and is ${found}`)
}

/**
 * Puts the page that was read from the database file right where it is elsewhere. Looked up after the read: a page is copied away before
 * it is overwritten, so what is not noted as moved by now was still the right one then.
 */
function putMoved(frozen: FrozenPages, pgno: number, page: Buffer): void {
  const { places, walFd, keptFd, pageSize } = frozen
  let place = Atomics.load(places, pgno - 1)
  if (place < 0) {
    fs.readSync(walFd, page, 0, pageSize, frameOffset(-place, pageSize) + FRAME_HEADER_SIZE)
    place = Atomics.load(places, pgno - 1)
  }
  if (place > 0) fs.readSync(keptFd, page, 0, pageSize, (place - 1) * pageSize)
}

/** One for all snapshots: handing a young typed array to the addon costs more than hashing a page. */
const one = new Uint32Array(2)

function addChecksum(sum: Uint32Array, pgno: number, page: Buffer): void {
  if (pgno === lockPage(page.length)) {
    page.fill(0)
    return
  }
  pageChecksum(one, 0, pgno, page, 0, page.length)
  sum[0] = (sum[0] ?? 0) ^ (one[0] ?? 0)
  sum[1] = (sum[1] ?? 0) ^ (one[1] ?? 0)
}

/** What lies beyond the end of the file reads as zeros, as it does for SQLite. */
async function readFully(fd: number, into: Buffer, offset: number): Promise<void> {
  let done = 0
  while (done < into.length) {
    const { bytesRead } = await read(fd, into, done, into.length - done, offset + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  into.fill(0, done)
}
