import type { BackingFile } from './backing-file.js'
import type { Captured, Committer } from './committer.js'
import type { DatabaseFiles } from './database-files.js'
import type { PageState } from './page-state.js'
import { NO_WAL, type TransactionPages, withGrowth } from './transaction.js'

/** What a replacement needs of a database. */
export interface Replaceable {
  readonly files: DatabaseFiles
  readonly committer: Committer
}

/** Captures that a database is gone; undefined when it has no pages anyway. Throws as Committer.commit does. */
export function captureDrop({ committer }: Replaceable): Captured | undefined {
  const { state } = committer
  if (state.pageCount === 0) return undefined
  const pages = { pageSize: state.pageSize, pageCount: 0, pgnos: new Uint32Array(0), read: () => {} }
  return committer.commit(pages, { wal: NO_WAL, skipUnchanged: true, durable: true })
}

/**
 * Captures the content of `source`, whose file is about to take the place of the one of `target`, as the next transaction there: the pages
 * that differ, or all of them where there were none. Undefined when nothing differs. Throws a system error, with nothing captured.
 */
export function captureContentOf(target: Replaceable, source: Replaceable): Captured | undefined {
  target.files.makeDirectories()
  const { state } = source.committer
  if (state.pageCount === 0) return captureDrop(target)
  return source.files.with('database', (file) => {
    const pages = contentOf(file, state, target.committer.state)
    return target.committer.commit(pages, { wal: NO_WAL, skipUnchanged: true, durable: true })
  })
}

/**
 * What makes a database of state `before` one of state `after`, whose content is `file`: the pages whose checksums differ, and those by which
 * it grows. Every page where there is nothing to compare: a snapshot.
 */
function contentOf(file: BackingFile, after: PageState, before: PageState): TransactionPages {
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
