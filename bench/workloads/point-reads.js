import { bodyOf, openDatabase, repeatFor } from '../database.js'

const ROWS = 10_000
const READS_PER_STEP = 500

/** One row by its key, each in a read transaction of its own, all pages warm. */
function pointReads(journalMode, synchronous) {
  return {
    name: `read-${journalMode}`,
    title: `warm point reads, ${journalMode.toUpperCase()}`,
    goal: 0.9,
    setup(path) {
      const db = openDatabase(path, { journalMode, synchronous })
      const insert = db.prepare('INSERT INTO entries (id, body) VALUES (?, ?)')
      db.transaction(() => {
        for (let id = 1; id <= ROWS; id++) insert.run(id, bodyOf(id))
      })()
      return db
    },
    run(db, seconds) {
      const select = db.prepare('SELECT body FROM entries WHERE id = ?').pluck()
      let id = 0
      return repeatFor(seconds, () => {
        for (let read = 0; read < READS_PER_STEP; read++) {
          id = (id + 7919) % ROWS
          if (select.get(id + 1) === undefined) throw new Error(`Cannot read row ${id + 1}: it is gone`)
        }
        return READS_PER_STEP
      })
    },
  }
}

export const pointReadWorkloads = [pointReads('wal', 'NORMAL'), pointReads('delete', 'FULL')]
