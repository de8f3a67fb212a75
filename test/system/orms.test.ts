// Object-relational mappers begin their transactions in different ways, and wait for each other's: Django, SQLAlchemy and peewee themselves, from
// Debian's packages, and better-sqlite3 beside them. Nothing is lost or done twice.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { unpackedPackages } from '../servers/debian-package.js'
import { agree } from './agreement.js'
import { run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { isLong, roundsOf } from './rounds.js'

t.setTimeout(10 * 60_000)

/** Of each worker. */
const INCREMENTS = roundsOf(4)
const TIMEOUT_MS = 120_000
const worker = fileURLToPath(new URL('orms.py', import.meta.url))
const library = createRequire(import.meta.url).resolve('better-sqlite3')
const PACKAGES = 'django asgiref sqlparse tz sqlalchemy peewee'.split(' ').map((name) => `python3-${name}`)
/** BEGIN IMMEDIATE, as Rails, Drizzle and others do it. */
const IMMEDIATE = `
  const [library, file, count] = process.argv.slice(1)
  const db = require(library)(file, { timeout: 60000 })
  const increment = db.transaction(() => {
    const { n } = db.prepare('SELECT n FROM counter WHERE id=1').get()
    db.prepare('UPDATE counter SET n=? WHERE id=1').run(n + 1)
    db.prepare("INSERT INTO entry(who) VALUES('better-sqlite3')").run()
  })
  for (let n = 0; n < count; n++) increment.immediate()`

t.test('mappers with locks of different kinds wait for each other', async (t) => {
  const codename = /^VERSION_CODENAME=(\w+)/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1] ?? ''
  const packages = path.join(await unpackedPackages(PACKAGES, codename), 'usr/lib/python3/dist-packages')
  const mount = await startMount(t, { configExtra: { data: { retention: '24h' } } })
  for (const mode of isLong ? ['delete', 'wal'] : ['wal']) {
    const file = path.join(mount.dir, `${mode}.db`)
    const schema = `CREATE TABLE counter(id INTEGER PRIMARY KEY, n INTEGER NOT NULL); INSERT INTO counter VALUES(1, 0);
      CREATE TABLE entry(id INTEGER PRIMARY KEY AUTOINCREMENT, who TEXT NOT NULL);`
    await sqlite(file, `PRAGMA journal_mode=${mode}; ${schema}`)
    const start = async (command: string, words: string[]) => {
      const { code, stderr } = await run(command, [...words, file, `${INCREMENTS}`], { timeoutMs: TIMEOUT_MS })
      t.equal(code, 0, `${mode}: ${stderr}`)
    }
    const python = (name: string) => start('env', [`PYTHONPATH=${packages}`, 'python3', worker, name])
    await Promise.all([
      ...['django', 'sqlalchemy', 'peewee'].map(python),
      start(process.execPath, ['-e', IMMEDIATE, library]),
    ])
    await python('exclusively')
    const counts = await sqlite(
      file,
      'SELECT n, (SELECT count(*) FROM entry), (SELECT count(DISTINCT who) FROM entry) FROM counter',
    )
    t.equal(counts, `${5 * INCREMENTS}|${5 * INCREMENTS}|5\n`, mode)
    t.equal(
      await sqlite(file, "PRAGMA foreign_key_check; SELECT count(*) FROM sqlite_schema WHERE name GLOB '*_own'"),
      '4\n',
    )
    await agree(t, mount, `${mode}.db`)
  }
  t.notMatch(mount.output(), /level=(?:WARN|ERROR)/)
})
