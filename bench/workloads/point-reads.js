import { openDatabase, repeatFor, withRows } from '../database.js'

const ROWS = 10_000
const READS_PER_STEP = 500

/** One row by its key, each in a read transaction of its own, all pages warm. */
function warmReads(journalMode, synchronous) {
  return {
    name: `read-${journalMode}`,
    title: `warm point reads, ${journalMode.toUpperCase()}`,
    goal: 0.95,
    setup: (path) => withRows(openDatabase(path, { journalMode, synchronous }), ROWS),
    run: (db, seconds) => readFor(db, seconds, () => {}),
  }
}

/** The same with nothing in SQLite's own cache, so that each page comes from the file: what the kernel's cache gives. */
const coldReads = {
  name: 'read-cold',
  title: 'point reads, cold SQLite cache, WAL',
  setup: (path) => withRows(openDatabase(path, { journalMode: 'wal', synchronous: 'NORMAL' }), ROWS),
  run(db, seconds) {
    const shrink = db.prepare('PRAGMA shrink_memory')
    return readFor(db, seconds, () => shrink.run())
  },
}

function readFor(db, seconds, beforeEach) {
  const select = db.prepare('SELECT body FROM entries WHERE id = ?').pluck()
  let id = 0
  return repeatFor(seconds, () => {
    for (let read = 0; read < READS_PER_STEP; read++) {
      beforeEach()
      id = (id + 7919) % ROWS
      if (select.get(id + 1) === undefined) throw new Error(`Cannot read row ${id + 1}: it is gone`)
    }
    return READS_PER_STEP
  })
}

export const pointReadWorkloads = [warmReads('wal', 'NORMAL'), warmReads('delete', 'FULL'), coldReads]
