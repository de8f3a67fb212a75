// Reads a replica until standard input ends: in each read transaction the balances add up, and the log has no gap.
// node reader.js FILE HOLD_MS: prints "reading" after the first, and a line of JSON with what it saw at the end.
import Database from 'better-sqlite3'

const [file, holdMs] = process.argv.slice(2)
const total = 100_000
const db = new Database(file, { timeout: 20_000 })
const sum = db.prepare('SELECT sum(balance) FROM account').pluck()
const moves = db.prepare('SELECT count(*) AS count, coalesce(max(seq), 0) AS last FROM move')
const seen = { reads: 0, snapshots: 0, last: 0, problems: [] }
let ended = false

function read() {
  const before = sum.get()
  const { count, last } = moves.get()
  if (before !== total) seen.problems.push(`the sum is ${before}`)
  if (count !== last) seen.problems.push(`${count} moves, the last is ${last}`)
  return last
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

async function once() {
  try {
    db.exec('BEGIN')
    const last = read()
    if (Number(holdMs) > 0) await pause(Number(holdMs))
    if (read() !== last) seen.problems.push(`the snapshot changed from ${last}`)
    if (last < seen.last) seen.problems.push(`went back from ${seen.last} to ${last}`)
    if (last > seen.last) seen.snapshots++
    seen.last = last
    seen.reads++
    db.exec('COMMIT')
  } catch (error) {
    seen.problems.push(`${error.code}: ${error.message}`)
    if (db.inTransaction) db.exec('ROLLBACK')
  }
}

process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()
await once()
process.stdout.write('reading\n')
while (!ended && seen.problems.length < 5) {
  for (let i = 0; i < 10 && !ended; i++) await once()
  await new Promise((resolve) => setImmediate(resolve))
}
await once()
process.stdout.write(`${JSON.stringify(seen)}\n`)
process.exit(0)
