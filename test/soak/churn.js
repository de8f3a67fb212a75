// What a soak does to a mount: `node churn.js DIRECTORY`, driven over the IPC channel: {databases, milliseconds} asks for a round.
// Opens, writes, reads, closes, creates and drops, with a pause between two steps: it is to last long, not to be fast.
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'

const PAUSE_MS = 20
const ROWS = 50
const MODES = ['wal', 'delete', 'truncate', 'wal', 'persist']

const [, , directory] = process.argv
const cell = new Int32Array(new SharedArrayBuffer(4))
let step = 0

process.send({ ready: true })
process.on('message', ({ databases, milliseconds }) => {
  const end = performance.now() + milliseconds
  let dropped = 0
  let commits = 0
  while (performance.now() < end) {
    const name = `churn-${step++ % databases}.db`
    if (step % 7 === 0 && drop(name)) dropped++
    else commits += write(name)
    Atomics.wait(cell, 0, 0, PAUSE_MS)
  }
  process.send({ commits, dropped })
})
process.on('disconnect', () => process.exit())

function write(name) {
  const db = new Database(path.join(directory, name), { timeout: 10_000 })
  try {
    db.pragma(`journal_mode = ${MODES[step % MODES.length]}`)
    db.exec('CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, body BLOB)')
    const insert = db.prepare('INSERT OR REPLACE INTO entries VALUES (?, randomblob(?))')
    for (let row = 0; row < 5; row++) insert.run((step + row) % ROWS, 50 * (step % 40))
    db.prepare('SELECT count(*), sum(length(body)) FROM entries').get()
    if (step % 50 === 0) db.exec('VACUUM')
    return 5
  } finally {
    db.close()
  }
}

function drop(name) {
  const file = path.join(directory, name)
  if (!existsSync(file)) return false
  for (const suffix of ['-wal', '-shm', '-journal', '']) rmSync(file + suffix, { force: true })
  return true
}
