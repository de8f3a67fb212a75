// A client of the mount for the crash tests: opens the ledgers it is given (see ledger.ts), writes transactions until it is killed, and
// prints `INDEX SEQ` once a COMMIT has returned. Its argument: { name, seed, ledgers: LedgerOptions[] }.
import { writeSync } from 'node:fs'
import Database from 'better-sqlite3'

const { name, seed, ledgers } = JSON.parse(process.argv[2])
const CHECKPOINTS = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']
/** Entries that keep their batches, so that the databases stay small. */
const KEPT_ENTRIES = 60
/** Pages of one batch row's filler at most, bytes. */
const FILLER_SIZE = 700

let state = seed >>> 0

/** A linear congruential generator (Numerical Recipes); its upper bits are good enough here. */
function below(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * limit)
}

class Ledger {
  #seq = 0
  #batches = 0

  constructor({ file, journalMode, synchronous, cachePages, checkpointPages }) {
    this.db = new Database(file, { timeout: 20000, fileMustExist: true })
    this.db.pragma(`synchronous = ${synchronous}`)
    this.db.pragma(`cache_size = ${cachePages}`)
    this.db.pragma(`wal_autocheckpoint = ${checkpointPages}`)
    this.db.pragma(`journal_mode = ${journalMode}`)
    this.isWal = journalMode === 'wal'
    this.enter = this.db.prepare('INSERT INTO done(writer, seq, rows) VALUES (?, ?, ?)')
    this.fill = this.db.prepare('INSERT INTO batch(done, filler) VALUES (?, randomblob(?))')
    this.move = this.db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?')
    this.change = this.db.prepare('UPDATE batch SET filler = randomblob(?) WHERE done = ?')
    this.prune = this.db.prepare('UPDATE done SET pruned = 1 WHERE NOT pruned AND id < ?')
    this.drop = this.db.prepare('DELETE FROM batch WHERE done < ?')
  }

  /** One transaction; gives its number, or undefined when it was rolled back. */
  write() {
    const large = below(12) === 0
    const rows = large ? 100 + below(200) : below(20)
    this.db.exec('BEGIN IMMEDIATE')
    const { lastInsertRowid } = this.enter.run(name, this.#seq + 1, rows)
    for (let row = 0; row < rows; row++) this.fill.run(lastInsertRowid, below(FILLER_SIZE))
    const amount = below(100)
    this.move.run(-amount, below(10))
    this.move.run(amount, below(10))
    this.change.run(below(FILLER_SIZE), Number(lastInsertRowid) - below(KEPT_ENTRIES))
    if (++this.#batches % 10 === 0) this.#removeOld(Number(lastInsertRowid) - KEPT_ENTRIES)
    if (below(8) === 0) {
      this.db.exec('ROLLBACK')
      return undefined
    }
    this.db.exec('COMMIT')
    return ++this.#seq
  }

  checkpoint() {
    if (this.isWal) this.db.pragma(`wal_checkpoint(${CHECKPOINTS[below(CHECKPOINTS.length)]})`)
  }

  #removeOld(before) {
    this.prune.run(before)
    this.drop.run(before)
  }
}

try {
  const opened = ledgers.map((ledger) => new Ledger(ledger))
  writeSync(1, 'ready\n')
  for (;;) {
    const index = below(opened.length)
    const seq = opened[index].write()
    if (seq !== undefined) writeSync(1, `${index} ${seq}\n`)
    if (below(40) === 0) opened[index].checkpoint()
  }
} catch (error) {
  writeSync(1, `failed ${error.code}: ${error.message}\n`)
  process.exit(1)
}
