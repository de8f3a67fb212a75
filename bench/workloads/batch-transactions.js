import { bodyOf, openDatabase, repeatFor } from '../database.js'

const ROWS = 100

/** 100 inserted rows per transaction; counted are transactions. */
function batchTransactions(journalMode, synchronous) {
  return {
    name: `batch-${journalMode}-${synchronous.toLowerCase()}`,
    title: `100-row transactions, ${journalMode.toUpperCase()} ${synchronous}`,
    setup: (path) => openDatabase(path, { journalMode, synchronous }),
    run(db, seconds) {
      const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
      const insertAll = db.transaction(() => {
        for (let row = 0; row < ROWS; row++) insert.run(bodyOf(row))
      })
      return repeatFor(seconds, () => {
        insertAll()
        return 1
      })
    },
  }
}

export const batchTransactionWorkloads = [batchTransactions('wal', 'NORMAL'), batchTransactions('delete', 'FULL')]
