import type { BackingFile } from './backing-file.js'
import type { PageState } from './page-state.js'
import { type TransactionPages, withGrowth } from './transaction.js'

/**
 * What makes a database of state `before` one of state `after`, whose content is `file`: the pages whose checksums differ, and those by which
 * it grows. Every page where there is nothing to compare: a snapshot.
 */
export function contentOf(file: BackingFile, after: PageState, before: PageState): TransactionPages {
  const { pageSize, pageCount } = after
  const comparable = before.pageCount > 0 && before.pageSize === pageSize
  const differing = comparable ? differingPages(after, before) : new Uint32Array(0)
  const pgnos = withGrowth(differing, comparable ? before.pageCount : 0, pageCount, pageSize)
  return {
    pageSize,
    pageCount,
    pgnos,
    read(index, into) {
      const n = file.read(into, 0, pageSize, ((pgnos[index] ?? 0) - 1) * pageSize)
      into.fill(0, n)
    },
  }
}

function differingPages(after: PageState, before: PageState): Uint32Array {
  const common = Math.min(after.pageCount, before.pageCount)
  const pgnos = new Uint32Array(common)
  const sums = new Uint32Array(4)
  let count = 0
  for (let pgno = 1; pgno <= common; pgno++) {
    after.checksums.get(pgno, sums, 0)
    before.checksums.get(pgno, sums, 1)
    if (sums[0] !== sums[2] || sums[1] !== sums[3]) pgnos[count++] = pgno
  }
  return pgnos.subarray(0, count)
}
