import Database from 'better-sqlite3'
import { bodyOf, repeatFor } from '../database.js'

const COMMITS_PER_STEP = 10
const WAL_BYTES = 1e9
const BULK_ROWS = 10_000

/** Rows inserted one per transaction, at the end of a database that has been filled before. */
function commits({ name, title, journalMode, synchronous, databases, prepare = () => {} }) {
  return {
    name,
    title,
    goal: 1 / 1.2,
    databases,
    /** To check gigabytes would take minutes. */
    unchecked: true,
    setup(path) {
      const db = new Database(path, { timeout: 10_000 })
      db.pragma(`journal_mode = ${journalMode}`)
      db.pragma(`synchronous = ${synchronous}`)
      db.exec('CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, body TEXT NOT NULL)')
      prepare(db, path)
      return db
    },
    run(db, seconds) {
      const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
      return repeatFor(seconds, () => {
        for (let commit = 0; commit < COMMITS_PER_STEP; commit++) insert.run(bodyOf(commit))
        return COMMITS_PER_STEP
      })
    },
  }
}

/** Grows the WAL of the database whose name says so to a gigabyte, by writing the same rows again and again. */
function growWal(db, path) {
  db.pragma('wal_autocheckpoint = 0')
  if (!path.endsWith('full-wal.db')) return
  const body = bodyOf(0).padEnd(3900, '.')
  const insert = db.prepare('INSERT OR REPLACE INTO entries (id, body) VALUES (?, ?)')
  const writeAll = db.transaction((round) => {
    for (let id = 1; id <= BULK_ROWS; id++) insert.run(id, `${round} ${body}`)
  })
  const rounds = Math.ceil(WAL_BYTES / (BULK_ROWS * 4096))
  for (let round = 0; round < rounds; round++) writeAll(round)
}

const sizes = { baseline: 'small.db', measured: 'large.db' }

/** Not among the usual ones: they need databases that large.js prepares. */
export const largeWorkloads = [
  commits({
    name: 'large-wal-normal',
    title: '10 GB against 10 MB, WAL NORMAL',
    journalMode: 'wal',
    synchronous: 'NORMAL',
    databases: sizes,
  }),
  commits({
    name: 'large-delete-full',
    title: '10 GB against 10 MB, DELETE FULL',
    journalMode: 'delete',
    synchronous: 'FULL',
    databases: sizes,
  }),
  commits({
    name: 'large-full-wal',
    title: 'WAL of 1 GB against an empty one',
    journalMode: 'wal',
    synchronous: 'NORMAL',
    databases: { baseline: 'empty-wal.db', measured: 'full-wal.db' },
    prepare: growWal,
  }),
]
