// node routed-writer.js NAME DATABASE...: one database on several nodes, a connection to each, all of them open from beginning to end. Writes
// entry after entry where the primary is, until standard input ends: `done SEQ INDEX BEGUN DONE` once a commit has returned, `failed REASON`
// for one that did not succeed. Waiting for a primary is no failure, for as long as the busy timeout.
import { existsSync, writeSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'

const [name, ...files] = process.argv.slice(2)
const BUSY_MS = 10_000
const nodes = files.map((file) => {
  const db = new Database(file, { timeout: BUSY_MS, fileMustExist: true })
  db.pragma('synchronous = FULL')
  const insert = db.prepare('INSERT INTO entry(writer, seq, at) VALUES (?, ?, ?)')
  return { db, insert, primaryFile: path.join(path.dirname(file), '.primary') }
})
let ended = false
process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()
const say = (line) => writeSync(1, `${line}\n`)

function isReplica({ primaryFile }) {
  try {
    return existsSync(primaryFile)
  } catch {
    return true
  }
}

/** False where the node is no primary (any more). */
function write(node, seq) {
  if (isReplica(node)) return false
  node.db.exec('BEGIN IMMEDIATE')
  try {
    // Within a write transaction the role stays, unless the node is torn out of it.
    if (isReplica(node)) return false
    node.insert.run(name, seq, Date.now())
    node.db.exec('COMMIT')
    return true
  } finally {
    if (node.db.inTransaction) node.db.exec('ROLLBACK')
  }
}

let last = 0
function request(seq) {
  const begun = Date.now()
  for (let turn = 0; Date.now() - begun < BUSY_MS; turn++) {
    const index = (last + turn) % nodes.length
    if (write(nodes[index], seq)) {
      last = index
      say(`done ${seq} ${index} ${begun} ${Date.now()}`)
      return
    }
    if (turn % nodes.length === nodes.length - 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
  }
  throw new Error('there was no primary for as long as the busy timeout')
}

say('ready')
for (let seq = 1; !ended; seq++) {
  try {
    request(seq)
  } catch (error) {
    say(`failed ${error.code}: ${error.message}`)
    last++
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await new Promise((resolve) => setImmediate(resolve))
}
