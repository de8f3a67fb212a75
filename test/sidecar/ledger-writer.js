// An application: changes rows and, in the same transaction, what a ledger says of them; now and then a checkpoint of its own, or VACUUM. Until it is killed.
// node ledger-writer.js DATABASE JOURNAL_MODE
import Database from 'better-sqlite3'

const [file = '', mode = 'wal'] = process.argv.slice(2)
const database = new Database(file, { timeout: 10_000 })
for (let isDone = false; !isDone; ) {
  busyOr(() => {
    database.pragma(`journal_mode = ${mode}`)
    isDone = true
  })
}
database.exec(`create table if not exists t(id integer primary key, v integer, pad blob);
  create table if not exists ledger(one integer primary key check (one = 1), rows integer, sum integer, steps integer);
  insert or ignore into ledger values (1, 0, 0, 0)`)
process.stdout.write('ready\n')

const insert = database.prepare('insert into t(v, pad) values (?, randomblob(?))')
const remove = database.prepare('delete from t where id in (select id from t order by random() limit ?) returning v')
const note = database.prepare('update ledger set rows = rows + ?, sum = sum + ?, steps = steps + 1')
const random = (limit) => Math.floor(Math.random() * limit)

const step = database.transaction(() => {
  let [rows, sum] = [0, 0]
  for (let i = random(30); i >= 0; i--) {
    const v = random(1000)
    insert.run(v, random(3000))
    rows++
    sum += v
  }
  for (const { v } of remove.all(random(25))) {
    rows--
    sum -= v
  }
  note.run(rows, sum)
})

/** Whoever reads for a backup keeps some of these from doing all they could. */
function busyOr(action) {
  try {
    action()
  } catch (error) {
    if (error.code !== 'SQLITE_BUSY' && error.code !== 'SQLITE_LOCKED') throw error
  }
}

function turn() {
  step.immediate()
  const luck = Math.random()
  database.pragma('busy_timeout = 50')
  if (luck < 0.02) busyOr(() => database.exec('vacuum'))
  else if (luck < 0.05) busyOr(() => database.pragma('wal_checkpoint(TRUNCATE)'))
  else if (luck < 0.07) busyOr(() => database.pragma('wal_checkpoint(RESTART)'))
  else if (luck < 0.1) busyOr(() => database.pragma('wal_checkpoint(PASSIVE)'))
  database.pragma('busy_timeout = 10000')
  if (Math.random() < 0.3) setTimeout(turn, random(20))
  else setImmediate(turn)
}
turn()
