// `node inspect.js DATABASE` prints what is in a database as JSON: rows, tables, a hash over all content, integrity.
import { createHash } from 'node:crypto'
import Database from 'better-sqlite3'

const db = new Database(process.argv[2], { fileMustExist: true, timeout: 5000 })
const hash = createHash('sha256')
let rows = 0

// A virtual table's content is in its shadow tables, which are listed like any other.
const tables = db
  .prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name`)
  .all()
for (const { sql } of db.prepare('SELECT sql FROM sqlite_schema ORDER BY type, name').iterate()) hash.update(`${sql}\n`)
for (const { name } of tables) {
  const columns = db.prepare('SELECT name FROM pragma_table_info(?)').pluck().all(name)
  const values = columns.map((column) => `quote(${quoteName(column)})`).join(` || ',' || `)
  const order = columns.map((column) => quoteName(column)).join(', ')
  hash.update(`${name}\n`)
  for (const row of db
    .prepare(`SELECT ${values} FROM ${quoteName(name)} ORDER BY ${order}`)
    .pluck()
    .iterate()) {
    hash.update(`${row}\n`)
    rows++
  }
}
const integrity = db.pragma('integrity_check', { simple: true })
db.close()
console.log(JSON.stringify({ rows, tables: tables.length, contentHash: hash.digest('hex'), integrity }))

function quoteName(name) {
  return `"${name.replaceAll('"', '""')}"`
}
