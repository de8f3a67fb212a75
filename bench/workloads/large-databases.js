import Database from 'better-sqlite3'
import { commitRows } from '../database.js'

/** Rows inserted one per transaction, at the end of a database that has been filled before. */
function commits({ name, title, journalMode, synchronous, databases }) {
  return {
    name,
    title,
    goal: 1 / 1.2,
    databases,
    /** To check gigabytes would take minutes. */
    finish: (db) => db.close(),
    setup(path) {
      const db = new Database(path, { timeout: 10_000 })
      db.pragma(`journal_mode = ${journalMode}`)
      db.pragma(`synchronous = ${synchronous}`)
      db.exec('CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, body TEXT NOT NULL)')
      return db
    },
    run: commitRows,
  }
}

const sizes = { baseline: 'small.db', measured: 'large.db' }

/** Not among the usual ones: they need databases that large.js prepares. */
export const largeWorkloads = [
  commits({
    name: 'large-wal-normal',
    title: 'large against 10 MB, WAL NORMAL',
    journalMode: 'wal',
    synchronous: 'NORMAL',
    databases: sizes,
  }),
  commits({
    name: 'large-delete-full',
    title: 'large against 10 MB, DELETE FULL',
    journalMode: 'delete',
    synchronous: 'FULL',
    databases: sizes,
  }),
]
