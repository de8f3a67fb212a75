import { availableParallelism } from 'node:os'
import { lockPage } from '../ltx/checksum.js'
import { checksumPages } from '../native.js'
import type { PageState } from './page-state.js'

/** Pages that one task on the thread pool takes on. */
const TASK_PAGES = 4096

/** Gives `state`, which has no page checksums yet, those of a database file, on all cores. Pages past the end of the file get none. */
export async function scanPages(fd: number, pageSize: number, pageCount: number, state: PageState): Promise<void> {
  let next = 1
  const takeTasks = async () => {
    const sums = new Uint32Array(2 * Math.min(TASK_PAGES, pageCount))
    while (next <= pageCount) {
      const first = next
      const count = Math.min(TASK_PAGES, pageCount - first + 1)
      next += count
      const found = await checksumPages(fd, pageSize, first, count, sums, 0)
      const lock = lockPage(pageSize) - first
      if (lock >= 0 && lock < found) sums.fill(0, 2 * lock, 2 * lock + 2)
      state.addPages(first, found, sums)
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, takeTasks))
}
