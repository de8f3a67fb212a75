// A database of about the given size, page size 4096, a row per page: `node large-build.js FILE BYTES`.
import { closeSync, fsyncSync, openSync } from 'node:fs'
import Database from 'better-sqlite3'

const BODY_BYTES = 3900 // one row fills a page
const RANDOM_BYTES = 400 // and compresses about as text does

const [, , file, bytes] = process.argv
const db = new Database(file)
db.pragma('page_size = 4096')
db.pragma('journal_mode = OFF')
db.pragma('synchronous = OFF')
db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, body TEXT NOT NULL)')
db.prepare(
  `WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)
   INSERT INTO entries SELECT number, hex(randomblob(${RANDOM_BYTES / 2})) || printf('%.*c', ${BODY_BYTES - RANDOM_BYTES}, 'x') FROM numbers`,
).run(Math.floor(Number(bytes) / 4096))
db.close()
const fd = openSync(file)
fsyncSync(fd)
closeSync(fd)
