// node bank-client.js write|read SEED FILE...: databases in which every transaction preserves the sum of all balances, and whose log of moves has
// no gap. `write` works on them at random, `read` checks them in each read transaction, until standard input ends or the mount is lost.
// Prints a line once it is at work, and at the end one of JSON: { count, problems, lost }.
import { writeSync } from 'node:fs'
import Database from 'better-sqlite3'

const [role, seed, ...files] = process.argv.slice(2)
const ACCOUNTS = 100
const TOTAL = 100_000
const MODES = ['wal', 'delete', 'truncate', 'persist']
/** Moves that are kept, so that the databases stay small. */
const KEPT_MOVES = 200
/** What an application sees whose mount has gone. */
const LOST = /^SQLITE_(IOERR|CANTOPEN|NOTADB)/

const seen = { count: 0, problems: [], lost: undefined }
let state = Number(seed) >>> 0
let ended = false
process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()

/** A linear congruential generator (Numerical Recipes); its upper bits are good enough here. */
function below(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * limit)
}

/** A file's name says its journal mode; `mixed` changes it. */
function openBank(file) {
  const db = new Database(file, { timeout: 60_000 })
  return { file, db, mixed: file.includes('mixed'), move: mover(db) }
}

function mover(db) {
  const pay = db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?')
  const note = db.prepare('INSERT INTO move(filler) VALUES (randomblob(?))')
  const prune = db.prepare('DELETE FROM move WHERE seq <= ?')
  return (large) => {
    db.exec('BEGIN IMMEDIATE')
    const amount = below(100)
    pay.run(-amount, 1 + below(ACCOUNTS))
    let last = 0
    for (let moves = large ? 50 : 1; moves > 0; moves--) last = note.run(below(3000)).lastInsertRowid
    pay.run(amount, 1 + below(ACCOUNTS))
    if (below(20) === 0) prune.run(Number(last) - KEPT_MOVES)
    db.exec(below(10) === 0 ? 'ROLLBACK' : 'COMMIT')
  }
}

function write({ db, mixed, move }) {
  const choice = below(1000)
  if (choice < 5) db.exec('VACUUM')
  else if (choice < 25 && mixed) db.pragma(`journal_mode = ${MODES[below(MODES.length)]}`)
  else if (choice < 30) db.exec('CREATE TABLE IF NOT EXISTS extra AS SELECT * FROM move')
  else if (choice < 35) db.exec('DROP TABLE IF EXISTS extra')
  else move(choice < 60)
}

function look(db) {
  const { sum } = db.prepare('SELECT sum(balance) AS sum FROM account').get()
  const moves = 'SELECT count(*) AS count, coalesce(min(seq), 1) AS first, coalesce(max(seq), 0) AS last FROM move'
  const { count, first, last } = db.prepare(moves).get()
  if (sum !== TOTAL) seen.problems.push(`the sum is ${sum}`)
  if (count !== last - first + 1) seen.problems.push(`${count} moves from ${first} to ${last}`)
  return `${first}-${last}`
}

async function read({ file, db }) {
  db.exec('BEGIN')
  const before = look(db)
  if (below(10) === 0) await new Promise((resolve) => setTimeout(resolve, below(100)))
  const after = look(db)
  if (after !== before) seen.problems.push(`${file}: the snapshot changed from ${before} to ${after}`)
  db.exec('COMMIT')
}

function finish() {
  writeSync(1, `${JSON.stringify(seen)}\n`)
  process.exit(0)
}

try {
  const banks = files.map(openBank)
  writeSync(1, 'at work\n')
  while (!ended && seen.problems.length < 5) {
    const bank = banks[below(banks.length)]
    if (role === 'write') write(bank)
    else await read(bank)
    seen.count++
    await new Promise((resolve) => setImmediate(resolve))
  }
} catch (error) {
  const message = `${error.code}: ${error.message}`
  if (LOST.test(message)) seen.lost = message
  else seen.problems.push(message)
}
finish()
