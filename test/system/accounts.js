// node accounts.js write|read DATABASE MODE: moves money between accounts, or checks in each read transaction that none was lost, until
// standard input ends. Prints how often.
import Database from 'better-sqlite3'

const [role, file, mode] = process.argv.slice(2)
const TOTAL = 10_000
let count = 0
let open = true
process.stdin.on('end', () => {
  open = false
})
process.stdin.resume()

const database = new Database(file, { timeout: 60_000, readonly: role === 'read' })
if (role === 'write') database.pragma(`journal_mode=${mode}`)
const step = role === 'write' ? transfer() : check()

function transfer() {
  const move = database.prepare('UPDATE accounts SET amount = amount + ? WHERE id = ?')
  return database.transaction(() => {
    const amount = Math.floor(Math.random() * 10)
    move.run(amount, 1 + Math.floor(Math.random() * 100))
    move.run(-amount, 1 + Math.floor(Math.random() * 100))
  })
}

function check() {
  const all = database.prepare('SELECT amount FROM accounts')
  const sum = database.prepare('SELECT sum(amount) AS sum FROM accounts')
  return database.transaction(() => {
    const first = all.all().reduce((total, { amount }) => total + amount, 0)
    const second = sum.get().sum
    if (first !== TOTAL || second !== TOTAL) throw new Error(`the accounts hold ${first} and ${second}, not ${TOTAL}`)
  })
}

while (open) {
  step()
  count++
  await new Promise((resolve) => setImmediate(resolve))
}
console.log(count)
