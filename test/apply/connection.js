// One connection in a process of its own: locks of this process would end when the applier's files are closed.
// Started by fork with the file; answers each message, an SQL statement, with its rows or an error.
import Database from 'better-sqlite3'

const db = new Database(process.argv[2], { timeout: 0 })

function run(sql) {
  if (sql === 'serialize') return db.serialize()
  const statement = db.prepare(sql)
  if (statement.reader) return statement.all()
  statement.run()
  return []
}

process.on('message', (sql) => {
  try {
    process.send({ result: run(sql) })
  } catch (error) {
    process.send({ error: `${error.code}: ${error.message}` })
  }
})
process.on('disconnect', () => process.exit(0))
