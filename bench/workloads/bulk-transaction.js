import { bodyOf, openDatabase } from '../database.js'

const ROWS = 100_000

/** 100,000 inserted rows in one transaction; only the transaction is timed, not the emptying between two. */
const bulkTransaction = {
  name: 'bulk-wal-normal',
  title: '100,000-row transaction, WAL NORMAL (rows)',
  goal: 0.7,
  setup: (path) => openDatabase(path, { journalMode: 'wal', synchronous: 'NORMAL' }),
  run(db, seconds) {
    const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
    const insertAll = db.transaction(() => {
      for (let row = 0; row < ROWS; row++) insert.run(bodyOf(row))
    })
    let operations = 0
    let elapsedMs = 0
    while (elapsedMs < seconds * 1000) {
      db.exec('DELETE FROM entries')
      db.pragma('wal_checkpoint(TRUNCATE)')
      const start = performance.now()
      insertAll()
      elapsedMs += performance.now() - start
      operations += ROWS
    }
    return { operations, seconds: elapsedMs / 1000 }
  },
}

export const bulkTransactionWorkloads = [bulkTransaction]
