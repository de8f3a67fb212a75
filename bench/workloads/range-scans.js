import { openDatabase, repeatFor, withRows } from '../database.js'

const ROWS = 50_000 // 6 MB: three times what SQLite caches by itself
const ROWS_PER_SCAN = 5_000

/** Sums over a range of keys, in a read transaction each; counted are rows. */
const rangeScans = {
  name: 'scan-wal',
  title: 'range scans, WAL (rows)',
  setup: (path) => withRows(openDatabase(path, { journalMode: 'wal', synchronous: 'NORMAL' }), ROWS),
  run(db, seconds) {
    const select = db.prepare('SELECT count(*) AS rows, sum(length(body)) FROM entries WHERE id BETWEEN ? AND ?')
    let first = 1
    return repeatFor(seconds, () => {
      const { rows } = select.get(first, first + ROWS_PER_SCAN - 1)
      if (rows !== ROWS_PER_SCAN) throw new Error(`Cannot scan from row ${first}: ${rows} of ${ROWS_PER_SCAN} rows`)
      first = ((first - 1 + ROWS_PER_SCAN) % ROWS) + 1
      return rows
    })
  },
}

export const rangeScanWorkloads = [rangeScans]
