import { openDatabase, repeatFor, withRows } from '../database.js'

const ROWS = 100_000 // 12 MB

/** The whole database rewritten as one transaction; counted are its pages. */
const vacuum = {
  name: 'vacuum',
  title: 'VACUUM of 12 MB, WAL NORMAL (pages)',
  setup: (path) => withRows(openDatabase(path, { journalMode: 'wal', synchronous: 'NORMAL' }), ROWS),
  run(db, seconds) {
    const pages = db.pragma('page_count', { simple: true })
    return repeatFor(seconds, () => {
      db.exec('VACUUM')
      return pages
    })
  },
}

export const vacuumWorkloads = [vacuum]
