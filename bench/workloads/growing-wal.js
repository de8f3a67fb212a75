import { bodyOf, commitRows, openDatabase } from '../database.js'

const ROWS = 10_000
/** Of the WAL before the commits that are measured, megabytes. */
export const WAL_MEGABYTES = [0, 10, 100, 1000]

/** Single-row commits in WAL mode with no checkpoint, after the WAL has grown to as many megabytes as the file's name says. */
const growingWal = {
  name: 'growing-wal',
  title: 'single-row commits, WAL NORMAL, by WAL size',
  goal: 1 / 1.2,
  setup(path) {
    const db = openDatabase(path, { journalMode: 'wal', synchronous: 'NORMAL' })
    db.pragma('wal_autocheckpoint = 0')
    growWal(db, 1e6 * Number(/wal-(\d+)\.db$/.exec(path)[1]))
    return db
  },
  run: commitRows,
}

/** Writes the same rows again and again, a page each, so that the database stays small. */
function growWal(db, bytes) {
  const body = bodyOf(0).padEnd(3900, '.')
  const insert = db.prepare('INSERT OR REPLACE INTO entries (id, body) VALUES (?, ?)')
  const write = db.transaction((round, rows) => {
    for (let id = 1; id <= rows; id++) insert.run(id, `${round} ${body}`)
  })
  for (let left = Math.ceil(bytes / 4120), round = 0; left > 0; left -= ROWS, round++)
    write(round, Math.min(left, ROWS))
}

export const growingWalWorkloads = [growingWal]
