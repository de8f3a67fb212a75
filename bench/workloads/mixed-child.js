// One of the processes of mixed-processes.js: `node mixed-child.js DATABASE ROWS`. Ends when the other end of its IPC channel does.
import Database from 'better-sqlite3'
import { bodyOf, repeatFor } from '../database.js'

const READS = 9
const TIMEOUT_MS = 30_000 // SQLite is not fair: who waits for the write lock may be passed over

const [, , path, rows] = process.argv
const db = new Database(path, { timeout: TIMEOUT_MS })
db.pragma('synchronous = NORMAL')
const select = db.prepare('SELECT body FROM entries WHERE id = ?').pluck()
const update = db.prepare('UPDATE entries SET body = ? WHERE id = ?')
let id = process.pid

process.send({ ready: true })
process.on('message', ({ seconds }) => {
  process.send(
    repeatFor(seconds, () => {
      for (let read = 0; read < READS; read++) {
        id = (id + 7919) % Number(rows)
        if (select.get(id + 1) === undefined) throw new Error(`Cannot read row ${id + 1}: it is gone`)
      }
      update.run(bodyOf(id), id + 1)
      return READS + 1
    }),
  )
})
process.on('disconnect', () => db.close())
