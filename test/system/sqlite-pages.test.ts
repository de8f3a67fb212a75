// What SQLite does to a whole database: other journal modes, page sizes and vacuums, and all that empties or bounds its journals.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { Shell } from './shell.js'

t.setTimeout(10 * 60_000)

const HISTORY = { configExtra: { data: { retention: '24h' } } }
const SOME_ROWS = `CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB); CREATE INDEX by_b ON t(b);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1500) INSERT INTO t SELECT i, randomblob(150) FROM n;`

/** Runs SQL on a database of the mount, compares what it printed and has everything agree. */
async function expect(t: Test, mount: Mount, name: string, sql: string, printed: string[]): Promise<void> {
  const output = await sqlite(path.join(mount.dir, name), sql)
  t.same(output.trimEnd().split('\n'), printed, `${name}: ${sql.trim().split('\n')[0]}`)
  await agree(t, mount, name)
}

t.test('journal modes in both directions, in one connection and in many', async (t) => {
  const mount = await startMount(t, HISTORY)
  const modes = ['wal', 'delete', 'wal', 'truncate', 'wal', 'persist', 'delete', 'persist', 'truncate', 'wal']
  const unjournaled = ['memory', 'wal', 'off', 'persist', 'memory', 'off', 'wal', 'memory', 'delete']
  const steps = [...modes, ...unjournaled].map((mode) => `PRAGMA journal_mode=${mode}; INSERT INTO t(b) VALUES(1);`)
  await sqlite(path.join(mount.dir, 'one.db'), SOME_ROWS)
  await expect(t, mount, 'one.db', `${steps.join('\n')} SELECT count(*) FROM t;`, [...modes, ...unjournaled, '1519'])
  await sqlite(path.join(mount.dir, 'many.db'), SOME_ROWS)
  for (const step of steps) await sqlite(path.join(mount.dir, 'many.db'), step)
  await expect(t, mount, 'many.db', 'SELECT count(*) FROM t', ['1519'])
})

t.test('page sizes change through VACUUM', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['delete', 'wal']) {
    const name = `${mode}.db`
    await sqlite(path.join(mount.dir, name), `PRAGMA page_size=1024; ${SOME_ROWS}`)
    for (const size of [65536, 512, 4096]) {
      // In WAL mode a VACUUM keeps the page size.
      const sql = `PRAGMA journal_mode=delete; PRAGMA page_size=${size}; VACUUM;
        PRAGMA journal_mode=${mode}; INSERT INTO t(b) VALUES(2); PRAGMA page_size;`
      await expect(t, mount, name, sql, ['delete', mode, `${size}`])
    }
  }
})

t.test('auto_vacuum, incremental and full, and databases that shrink', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['delete', 'truncate', 'persist', 'wal']) {
    const name = `${mode}.db`
    const free = 'PRAGMA freelist_count;'
    await sqlite(
      path.join(mount.dir, name),
      `PRAGMA auto_vacuum=incremental; PRAGMA journal_mode=${mode}; ${SOME_ROWS} DELETE FROM t WHERE id%3>0; DROP INDEX by_b;`,
    )
    const file = path.join(mount.dir, name)
    const before = Number(await sqlite(file, free))
    t.ok(before > 20, `${before} free pages`)
    await expect(t, mount, name, `PRAGMA incremental_vacuum(7); ${free}`, [`${before - 7}`])
    await expect(t, mount, name, `PRAGMA incremental_vacuum; ${free}`, ['0'])
    await expect(t, mount, name, `PRAGMA auto_vacuum=full; VACUUM; DELETE FROM t WHERE id%2=0; ${free}`, ['0'])
    const pages = Number(await sqlite(file, 'PRAGMA page_count'))
    await sqlite(file, 'PRAGMA auto_vacuum=none; VACUUM; DELETE FROM t; VACUUM;')
    t.ok(Number(await sqlite(file, 'PRAGMA page_count')) < pages, 'shrunk')
    await agree(t, mount, name)
  }
})

t.test('VACUUM of a large WAL database, under a reader', async (t) => {
  const mount = await startMount(t, HISTORY)
  const file = path.join(mount.dir, 'large.db')
  await sqlite(
    file,
    `PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; ${SOME_ROWS} DROP INDEX by_b;
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300)
       INSERT INTO t(b) SELECT CASE i%2 WHEN 0 THEN randomblob(60000) ELSE zeroblob(60000) END FROM n;
     DELETE FROM t WHERE id%5=0;`,
  )
  const reader = new Shell(file)
  t.teardown(() => reader.kill())
  const before = await reader.execute('BEGIN; SELECT count(*), sum(length(b)) FROM t')
  await expect(t, mount, 'large.db', 'PRAGMA wal_autocheckpoint=0; VACUUM; VACUUM; PRAGMA freelist_count', ['0', '0'])
  t.equal(await reader.execute('SELECT count(*), sum(length(b)) FROM t'), before, 'the reader keeps its snapshot')
  await reader.close()
  await expect(t, mount, 'large.db', 'PRAGMA wal_checkpoint(TRUNCATE); PRAGMA integrity_check', ['0|0|0', 'ok'])
})

t.test('journal_size_limit cuts journals and the WAL', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['persist', 'wal']) {
    const name = `${mode}.db`
    const file = path.join(mount.dir, name)
    await sqlite(file, SOME_ROWS)
    const shell = new Shell(file)
    t.teardown(() => shell.kill())
    await shell.execute(`PRAGMA journal_mode=${mode}; PRAGMA journal_size_limit=60000; PRAGMA wal_autocheckpoint=10`)
    await shell.execute('UPDATE t SET b=randomblob(151)')
    await agree(t, mount, name)
    await shell.execute('UPDATE t SET b=randomblob(10) WHERE id=1; UPDATE t SET b=randomblob(10) WHERE id=2')
    const { size } = await stat(`${file}-${mode === 'wal' ? 'wal' : 'journal'}`)
    t.ok(size > 0 && size <= 60000, `${mode}: ${size} bytes`)
    await agree(t, mount, name)
    await shell.close()
    await agree(t, mount, name)
  }
})

t.test('wal_checkpoint in all forms, beside a reader and alone', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const form of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']) {
    const name = `${form}.db`
    const file = path.join(mount.dir, name)
    await sqlite(file, `PRAGMA journal_mode=wal; ${SOME_ROWS}`)
    const reader = new Shell(file)
    t.teardown(() => reader.kill())
    const writer = new Shell(file)
    t.teardown(() => writer.kill())
    await writer.execute('PRAGMA wal_autocheckpoint=0; UPDATE t SET b=1 WHERE id<50')
    await reader.execute('BEGIN; SELECT count(*) FROM t')
    await writer.execute('UPDATE t SET b=2 WHERE id BETWEEN 40 AND 900')
    const beside = await writer.execute(`PRAGMA wal_checkpoint(${form})`)
    t.match(beside, form === 'PASSIVE' ? /^0\|/ : /^1\|/, `${form}: ${beside.trim()}, a reader is in the way`)
    await agree(t, mount, name)
    await reader.execute('COMMIT')
    await writer.execute('UPDATE t SET b=3 WHERE id>1200')
    t.match(await writer.execute(`PRAGMA wal_checkpoint(${form})`), /^0\|(\d+)\|\1\n/, `${form} alone`)
    await writer.execute('UPDATE t SET b=4 WHERE id=3')
    await agree(t, mount, name)
    t.equal(await reader.execute('SELECT count(*) FROM t WHERE b=2'), '861\n')
    await reader.close()
    await writer.close()
    await agree(t, mount, name)
  }
})
