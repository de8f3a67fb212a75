import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { importDatabase } from '../../src/import/import-database.js'

const signal = new AbortController().signal

t.test('what is no database, or not all of one, is refused and leaves nothing behind', async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'source.db')
  execFileSync('sqlite3', [file, 'create table t(x); insert into t values(randomblob(20000))'])
  const whole = fs.readFileSync(file)
  const refused = (content: Buffer) =>
    importDatabase(Readable.from([content]), { directory, mountDir: directory, name: 'target.db', signal })
  await t.rejects(refused(Buffer.alloc(0)), { name: 'ImportError', message: /not a SQLite database/ })
  await t.rejects(refused(Buffer.from('hello')), { name: 'ImportError', message: /not a SQLite database/ })
  await t.rejects(refused(whole.subarray(0, -1)), { name: 'ImportError', message: /its header says 6 pages of 4096/ })
  await t.rejects(refused(Buffer.concat([whole, whole])), { name: 'ImportError', message: /its header says/ })
  t.strictSame(fs.readdirSync(directory), ['source.db'])
})
