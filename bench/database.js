import Database from 'better-sqlite3'

const COMMITS_PER_STEP = 10

/**
 * Opens the database of a workload with every setting that decides its speed said aloud:
 * better-sqlite3 is built with synchronous=NORMAL for WAL, the sqlite3 shell with FULL.
 *
 * @param {string} path
 * @param {{ journalMode: string, synchronous: string }} settings
 */
export function openDatabase(path, { journalMode, synchronous }) {
  const db = new Database(path, { timeout: 10_000 })
  db.pragma('page_size = 4096')
  const mode = db.pragma(`journal_mode = ${journalMode}`, { simple: true })
  if (mode !== journalMode) throw new Error(`Cannot use journal mode ${journalMode} on ${path}: it stays ${mode}`)
  db.pragma(`synchronous = ${synchronous}`)
  db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, body TEXT NOT NULL)')
  return db
}

/** A row body of 100 characters, different for each number. @param {number} number */
export function bodyOf(number) {
  return `${number} `.padEnd(100, 'The quick brown fox jumps over the lazy dog. ')
}

/**
 * Repeats `step` until the time is up; `step` returns how many operations it did.
 *
 * @param {number} seconds
 * @param {() => number} step
 * @returns {{ operations: number, seconds: number }}
 */
export function repeatFor(seconds, step) {
  const start = performance.now()
  let operations = 0
  let elapsedMs = 0
  while (elapsedMs < seconds * 1000) {
    operations += step()
    elapsedMs = performance.now() - start
  }
  return { operations, seconds: elapsedMs / 1000 }
}

/**
 * Inserts single rows, one per transaction.
 *
 * @param {import('better-sqlite3').Database} db
 * @param {number} seconds
 */
export function commitRows(db, seconds) {
  const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
  return repeatFor(seconds, () => {
    for (let commit = 0; commit < COMMITS_PER_STEP; commit++) insert.run(bodyOf(commit))
    return COMMITS_PER_STEP
  })
}

/** Fills the table of a workload with rows 1 to `count`. @param {import('better-sqlite3').Database} db @param {number} count */
export function withRows(db, count) {
  const insert = db.prepare('INSERT INTO entries (id, body) VALUES (?, ?)')
  db.transaction(() => {
    for (let id = 1; id <= count; id++) insert.run(id, bodyOf(id))
  })()
  return db
}
