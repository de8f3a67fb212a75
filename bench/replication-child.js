// One process of the replication benchmark: `node replication-child.js ROLE DATABASE`, driven over the IPC channel.
// Times are milliseconds of the machine's monotonic clock, the same in every process.

import Database from 'better-sqlite3'
import { bodyOf } from './database.js'

/** The watcher sleeps this long between two looks, milliseconds: what is measured is too large by up to that. */
const LOOK_MS = 0.2
const READS_PER_STEP = 500
/** Rows of a transaction that rewrites a large database. */
const REWRITTEN_ROWS = 1000

const [, , role, file] = process.argv
const roles = { write: startWriter, watch: startWatcher, read: startReader, rewrite: startRewriter }
const answer = roles[role]()
process.send({ ready: true })
process.on('message', (message) => process.send(answer(message)))

const cell = new Int32Array(new SharedArrayBuffer(4))

function sleep(milliseconds) {
  if (milliseconds > 0) Atomics.wait(cell, 0, 0, milliseconds)
}

function now() {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Inserts single rows: `perSecond` of them, or as many as it can; gives id and time of each paced commit. */
function startWriter() {
  const db = new Database(file, { timeout: 60_000 })
  db.pragma('journal_mode = wal')
  db.pragma('synchronous = NORMAL')
  db.exec('CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, body TEXT NOT NULL)')
  const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
  return ({ seconds, perSecond, rows }) => {
    if (rows !== undefined) return { rows: fill(db, insert, rows) }
    const start = now()
    const commits = []
    let count = 0
    for (let at = start; at - start < seconds * 1000; at = now()) {
      const { lastInsertRowid } = insert.run(bodyOf(count++))
      if (perSecond === undefined) continue
      commits.push([Number(lastInsertRowid), now()])
      sleep(start + (count * 1000) / perSecond - now())
    }
    return { count, milliseconds: now() - start, commits }
  }
}

function fill(db, insert, rows) {
  db.transaction(() => {
    for (let row = 0; row < rows; row++) insert.run(bodyOf(row))
  })()
  return rows
}

/** Tells when which row was the last one that a new read transaction saw. */
function startWatcher() {
  const db = new Database(file, { readonly: true, timeout: 60_000 })
  const version = db.prepare('PRAGMA data_version').pluck()
  const last = db.prepare('SELECT max(id) FROM entries').pluck()
  return ({ seconds }) => {
    const end = now() + seconds * 1000
    const seen = []
    let before
    while (now() < end) {
      const current = version.get()
      if (current !== before) {
        const id = last.get()
        seen.push([id, now()])
        before = current
      }
      sleep(LOOK_MS)
    }
    return { seen }
  }
}

/** Reads one row by its key, each in a read transaction of its own; tells how long it had a processor, too. */
function startReader() {
  const db = new Database(file, { readonly: true, timeout: 60_000 })
  const select = db.prepare('SELECT body FROM entries WHERE id = ?').pluck()
  return ({ seconds, rows }) => {
    const start = now()
    const before = process.cpuUsage()
    let operations = 0
    let id = 0
    while (now() - start < seconds * 1000) {
      for (let read = 0; read < READS_PER_STEP; read++) {
        id = (id + 7919) % rows
        if (select.get(id + 1) === undefined) throw new Error(`Cannot read row ${id + 1}: it is gone`)
      }
      operations += READS_PER_STEP
    }
    const { user, system } = process.cpuUsage(before)
    return { operations, seconds: (now() - start) / 1000, processorSeconds: (user + system) / 1e6 }
  }
}

/** Changes every row of a database that large-build.js made, in transactions of a few megabytes. */
function startRewriter() {
  return () => {
    const db = new Database(file, { timeout: 60_000 })
    db.pragma('journal_mode = wal')
    db.pragma('synchronous = NORMAL')
    const rows = db.prepare('SELECT max(id) FROM entries').pluck().get()
    const change = db.prepare("UPDATE entries SET body = 'y' || substr(body, 2) WHERE id BETWEEN ? AND ?")
    let transactions = 0
    for (let id = 1; id <= rows; id += REWRITTEN_ROWS, transactions++) change.run(id, id + REWRITTEN_ROWS - 1)
    db.close()
    return { rows, transactions }
  }
}
