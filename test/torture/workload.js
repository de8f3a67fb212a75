// node workload.js write|read NAME SEED DIR DATA: works on the databases in DIR, the mount of a node with the data directory DATA that may become
// the primary, be one no more, stand still or die. `write` commits where the node is the primary, `read` looks for what no read transaction may see, until standard input ends.
// Prints a line of JSON for each attempt to commit, { database, id, name, previous, epoch, begunMs, endedMs, acknowledged }, and for each
// { problem }; the last one is { count }.
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'

const [role, writer, seed, dir, dataDir] = process.argv.slice(2)
const ACCOUNTS = 50
const TOTAL = 50_000
const MODES = ['wal', 'delete', 'truncate', 'persist']
const BUSY_MS = 2000
/** Entries with their whole content, so that the databases stay small. */
const KEPT = 300
const LOOKED_AT = 40
/** What an application sees whose mount has gone, whose disk is full or whose node may not commit (any more). */
const EXPECTED = /^(SQLITE_(IOERR|CANTOPEN|READONLY|BUSY|FULL|LOCKED)|NO_MOUNT)/
const RETRY_MS = 20

let state = Number(seed) >>> 0
let ended = false
let count = 0
let seq = 0
let files = []
/** What is worked on. */
let current = ''
process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()

/** A linear congruential generator (Numerical Recipes); its upper bits are good enough here. */
function below(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * limit)
}

const nowMs = () => Number(process.hrtime.bigint()) / 1e6
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const say = (line) => writeSync(1, `${JSON.stringify(line)}\n`)
const epochOfNode = () => Number(readFileSync(path.join(dataDir, 'epoch'), 'utf8'))
const isReplica = () => existsSync(path.join(dir, '.primary'))

function open(database) {
  // Better-sqlite3 has no code for a directory that is not there.
  if (!existsSync(path.join(dir, database))) throw Object.assign(new Error('the mount has gone'), { code: 'NO_MOUNT' })
  const db = new Database(path.join(dir, database), { timeout: BUSY_MS, fileMustExist: true })
  try {
    db.pragma('synchronous = FULL')
    db.pragma(`wal_autocheckpoint = ${[20, 100, 1000][below(3)]}`)
    return { database, db, ...(role === 'write' ? writing(db) : reading(db)) }
  } catch (error) {
    db.close()
    throw error
  }
}

function writing(db) {
  return {
    last: db.prepare('SELECT id, name FROM entry ORDER BY id DESC LIMIT 1'),
    insert: db.prepare('INSERT INTO entry(id, name, previous, filler) VALUES (?, ?, ?, randomblob(?))'),
    prune: db.prepare('UPDATE entry SET filler = NULL WHERE id BETWEEN ? AND ?'),
    pay: db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?'),
  }
}

/** Within a transaction: what every transaction does. */
function add({ last, insert, prune, pay }, name) {
  const { id: lastId, name: previous } = last.get() ?? { id: 0, name: '' }
  const id = lastId + 1
  const amount = below(100)
  pay.run(-amount, 1 + below(ACCOUNTS))
  insert.run(id, name, previous, below(100) === 0 ? 400_000 : below(3000))
  if (below(20) === 0) prune.run(id - KEPT - 100, id - KEPT)
  pay.run(amount, 1 + below(ACCOUNTS))
  return { id, previous }
}

function commitOne(file) {
  const { db, database } = file
  const begunMs = nowMs()
  const name = `${writer}/${++seq}`
  let seen = { id: 0, previous: '', epoch: 0 }
  let acknowledged = false
  let wrote = false
  try {
    db.exec('BEGIN IMMEDIATE')
    // Within a write transaction the role stays, unless the node is torn out of it.
    if (isReplica()) return
    wrote = true
    seen = { ...add(file, name), epoch: epochOfNode() }
    db.exec('COMMIT')
    acknowledged = true
  } finally {
    if (wrote) say({ database, ...seen, name, begunMs, endedMs: nowMs(), acknowledged })
    if (db.open && db.inTransaction) db.exec('ROLLBACK')
  }
}

function chore({ db, database }, choice) {
  if (isReplica()) return
  if (choice < 2) db.exec('VACUUM')
  else if (choice < 4) db.exec('CREATE TABLE IF NOT EXISTS extra AS SELECT * FROM entry ORDER BY id DESC LIMIT 50')
  else if (choice < 6) db.exec('DROP TABLE IF EXISTS extra')
  else if (choice < 8) db.pragma('wal_checkpoint(TRUNCATE)')
  else if (database === 'mixed.db') db.pragma(`journal_mode = ${MODES[below(MODES.length)]}`)
}

function write() {
  const file = files[below(files.length)]
  current = file.database
  const choice = below(400)
  if (choice < 10) chore(file, choice)
  else commitOne(file)
}

function reading(db) {
  return {
    sum: db.prepare('SELECT sum(balance) FROM account').pluck(),
    last: db.prepare('SELECT max(id) FROM entry').pluck(),
    chain: db
      .prepare(`SELECT count(*) FROM entry e JOIN entry p ON p.id = e.id - 1 AND p.name = e.previous
      WHERE e.id > ? AND e.id > 1`)
      .pluck(),
  }
}

function look({ sum, last, chain, database }) {
  const found = { sum: sum.get(), last: last.get() ?? 0 }
  const from = Math.max(1, found.last - LOOKED_AT)
  const linked = chain.get(from)
  if (found.sum !== TOTAL) sayProblem(database, `${database}: the sum is ${found.sum}`)
  if (linked !== Math.max(0, found.last - from)) {
    sayProblem(database, `${database}: ${linked} of the entries from ${from} to ${found.last} follow the one before`)
  }
  return found.last
}

async function read() {
  const file = files[below(files.length)]
  const { db, database } = file
  current = database
  db.exec('BEGIN')
  try {
    const before = look(file)
    if (below(5) === 0) await pause(below(300))
    const after = look(file)
    if (after !== before) sayProblem(database, `${database}: a snapshot changed from entry ${before} to ${after}`)
  } finally {
    if (db.open && db.inTransaction) db.exec('COMMIT')
  }
}

/** What there is of a file, or its first bytes in hexadecimal digits. */
function headOf(file, bytes) {
  if (!existsSync(file)) return 'none'
  const fd = openSync(file, 'r')
  try {
    const head = Buffer.alloc(bytes)
    return `${statSync(file).size} bytes, ${head.toString('hex', 0, readSync(fd, head, 0, bytes, 0))}`
  } finally {
    closeSync(fd)
  }
}

/**
 * Whether the mount that a connection was opened on has gone: what the kernel still has of it can be read, and nothing else. Of one that was
 * unmounted while it was in use the kernel tells names from its root on.
 */
function isOfDeadMount(database) {
  const isOf = (fd) => {
    try {
      return path.basename(readlinkSync(`/proc/self/fd/${fd}`)).startsWith(database)
    } catch {
      return false // the directory's own, which is closed by now
    }
  }
  try {
    const { dev } = statSync(dir)
    return readdirSync('/proc/self/fd').some((fd) => isOf(fd) && fstatSync(Number(fd)).dev !== dev)
  } catch {
    return true
  }
}

/** Something that no transaction may see, unless it is of a mount that has gone. */
function sayProblem(database, problem) {
  if (!isOfDeadMount(database)) say({ problem })
}

/** What is there when a connection finds a database damaged, and whether it is so for others, and for itself once it looks again. */
function evidence() {
  const file = path.join(dir, current)
  const held = files.find(({ database }) => database === current)
  const attempt = (work) => {
    try {
      return String(work())
    } catch (error) {
      return `${error.code}: ${error.message}`
    }
  }
  const check = (db) => db.pragma('integrity_check(3)').map(Object.values).join('; ')
  const parts = {
    database: attempt(() => headOf(file, 100)),
    wal: attempt(() => headOf(`${file}-wal`, 32)),
    index: attempt(() => headOf(`${file}-shm`, 136)),
    journal: attempt(() => headOf(`${file}-journal`, 28)),
    mode: attempt(() => held?.db.pragma('journal_mode', { simple: true })),
    again: attempt(() => held && check(held.db)),
    other: attempt(() => {
      const other = open(current)
      try {
        return check(other.db)
      } finally {
        other.db.close()
      }
    }),
  }
  return Object.entries(parts)
    .map(([name, value]) => `${name}: ${value}`)
    .join(', ')
}

function close() {
  for (const { db } of files) db.close()
  files = []
}

async function turn() {
  if (files.length === 0) for (const name of ['wal.db', 'delete.db', 'mixed.db']) files.push(open(name))
  if (role === 'read') await read()
  else if (isReplica()) await pause(RETRY_MS)
  else write()
  count++
}

say({ count })
while (!ended) {
  try {
    await turn()
  } catch (error) {
    if (!EXPECTED.test(error.code) && !isOfDeadMount(current))
      say({
        problem: `${writer} (${role}), ${current}, ${new Date().toISOString()}: ${error.code}: ${error.message} (${evidence()})`,
      })
    // Connections to a mount that has gone stay dead; now and then a sound one is opened anew too.
    if (/^SQLITE_(IOERR|CANTOPEN|NOTADB|CORRUPT)/.test(error.code) || below(10) === 0) close()
    await pause(RETRY_MS)
  }
  await new Promise((resolve) => setImmediate(resolve))
}
say({ count })
process.exit(0)
