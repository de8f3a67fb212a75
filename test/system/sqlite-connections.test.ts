// Ways in which programs open, copy, map, lock and multiply databases.
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { run, startMount } from './harness.js'
import { contentHash, positionOf, sqlite } from './judges.js'
import { Shell } from './shell.js'

t.setTimeout(10 * 60_000)

const HISTORY = { configExtra: { data: { retention: '24h' } } }
const DATABASES = 300
const SCRIPT_TIMEOUT_MS = 5 * 60_000
const SOME_ROWS = `CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1500) INSERT INTO t SELECT i, randomblob(150) FROM n;`
const library = createRequire(import.meta.url).resolve('better-sqlite3')

/** Runs a script in which `Sqlite` is better-sqlite3 and `args` are the arguments; gives what it printed. */
async function node(script: string, ...args: string[]): Promise<string> {
  const prelude = 'const [library, ...args] = process.argv.slice(1); const Sqlite = require(library);'
  const body = `(async () => { ${script} })()`
  const words = ['-e', `${prelude} ${body}`, library, ...args]
  const { code, stdout, stderr } = await run(process.execPath, words, { timeoutMs: SCRIPT_TIMEOUT_MS })
  if (code !== 0) throw new Error(`Cannot run script: ${stderr}`)
  return stdout
}

async function outside(t: Test): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-outside-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

t.test('locking_mode=EXCLUSIVE in every journal mode', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['delete', 'truncate', 'persist', 'memory', 'off', 'wal']) {
    const name = `${mode}.db`
    const file = path.join(mount.dir, name)
    await sqlite(file, SOME_ROWS)
    const shell = new Shell(file)
    t.teardown(() => shell.kill())
    await shell.execute(`PRAGMA locking_mode=exclusive; PRAGMA journal_mode=${mode}; PRAGMA cache_size=10`)
    const before = BigInt(`0x${(await positionOf(mount.dir, name)).txid}`)
    for (let n = 0; n < 3; n++) await shell.execute(`UPDATE t SET b=randomblob(140) WHERE id%3=${n}`)
    if (mode !== 'off') await shell.execute('BEGIN; DELETE FROM t; ROLLBACK')
    await shell.execute('DELETE FROM t WHERE id=7')
    if (mode !== 'memory' && mode !== 'off') {
      const after = BigInt(`0x${(await positionOf(mount.dir, name)).txid}`)
      t.ok(after >= before + 4n, `${mode}: captured while it is locked, ${before} to ${after}`)
    }
    await t.rejects(sqlite(file, '.timeout 0\nSELECT count(*) FROM t'), /locked/, `${mode}: nobody else comes in`)
    // A WAL that was opened exclusively has no wal-index, and stays exclusive.
    if (mode !== 'wal') {
      await shell.execute('PRAGMA locking_mode=normal; SELECT * FROM t WHERE id=1')
      t.equal(await sqlite(file, 'SELECT count(*) FROM t'), '1499\n', mode)
    }
    await shell.close()
    t.equal(await sqlite(file, 'SELECT count(*) FROM t'), '1499\n', mode)
    await agree(t, mount, name)
  }
})

t.test('backups in both directions, by the shell and by better-sqlite3', async (t) => {
  const mount = await startMount(t, HISTORY)
  const dir = await outside(t)
  for (const mode of ['delete', 'wal']) {
    const file = path.join(mount.dir, `${mode}.db`)
    const source = path.join(dir, `${mode}-source.db`)
    await sqlite(source, `PRAGMA page_size=8192; ${SOME_ROWS} CREATE TABLE source(a);`)
    await sqlite(file, `PRAGMA journal_mode=${mode}; ${SOME_ROWS}`)
    const content = await contentHash(file)
    await sqlite(file, `.backup ${dir}/${mode}-shell.db`)
    await node('await new Sqlite(args[0]).backup(args[1])', file, `${dir}/${mode}-node.db`)
    for (const by of ['shell', 'node']) t.equal(await contentHash(`${dir}/${mode}-${by}.db`), content, `out by ${by}`)

    await sqlite(file, `.restore ${dir}/${mode}-node.db`)
    await agree(t, mount, `${mode}.db`)
    const wanted = await contentHash(source)
    if (mode === 'delete') await sqlite(file, `.restore ${source}`)
    else t.comment('SQLite restores no other page size into a WAL database')
    if (mode === 'delete') t.equal(await contentHash(file), wanted, 'restored, of another page size')
    await node('await new Sqlite(args[0]).backup(args[1])', source, `${mount.dir}/${mode}-node.db`)
    t.equal(await contentHash(`${mount.dir}/${mode}-node.db`), wanted, 'in by better-sqlite3')
    await agree(t, mount, `${mode}.db`)
    await agree(t, mount, `${mode}-node.db`)
  }
})

t.test('VACUUM INTO, into the mount and out of it; deserialised and copied files', async (t) => {
  const mount = await startMount(t, HISTORY)
  const dir = await outside(t)
  const source = path.join(dir, 'source.db')
  await sqlite(source, `PRAGMA journal_mode=wal; ${SOME_ROWS}`)
  const wanted = await contentHash(source)
  await sqlite(source, `VACUUM INTO '${mount.dir}/into.db'`)
  await sqlite(path.join(mount.dir, 'into.db'), `VACUUM INTO '${dir}/out.db'; VACUUM INTO '${mount.dir}/within.db'`)
  t.equal(await contentHash(`${dir}/out.db`), wanted)
  await copyFile(source, path.join(mount.dir, 'copied.db'))
  const serialize = `const bytes = new Sqlite(args[0]).serialize(); require('fs').writeFileSync(args[1], bytes);
    new Sqlite(bytes).exec("VACUUM INTO '" + args[2] + "'");`
  await node(serialize, `${mount.dir}/into.db`, `${mount.dir}/serialised.db`, `${mount.dir}/deserialised.db`)
  for (const name of ['into.db', 'within.db', 'copied.db', 'serialised.db', 'deserialised.db']) {
    await agree(t, mount, name)
    t.equal(await contentHash(path.join(mount.dir, name)), wanted, name)
    await sqlite(path.join(mount.dir, name), 'DELETE FROM t WHERE id%2; INSERT INTO t(b) VALUES(1)')
    await agree(t, mount, name)
  }
  await t.rejects(sqlite(source, `VACUUM INTO '${mount.dir}/into.db'`), /already exists/)
})

t.test('the text of .dump, restored', async (t) => {
  const mount = await startMount(t, HISTORY)
  const source = path.join(await outside(t), 'source.db')
  const more = "CREATE INDEX i ON t(b); CREATE VIEW v AS SELECT id FROM t; INSERT INTO t VALUES(-1, 'naïve ''text''');"
  await sqlite(source, `PRAGMA page_size=1024; ${SOME_ROWS} ${more} DELETE FROM t WHERE id%5=0;`)
  const text = await sqlite(source, '.dump')
  for (const mode of ['delete', 'wal']) {
    const file = path.join(mount.dir, `${mode}.db`)
    await sqlite(file, `PRAGMA journal_mode=${mode};\n${text}`)
    t.equal(await contentHash(file), await contentHash(source), mode)
    t.equal(await sqlite(file, '.dump'), text, `${mode}: and out again`)
    await agree(t, mount, `${mode}.db`)
  }
})

t.test('memory-mapped readers see what others write, shrinking included', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['delete', 'wal']) {
    const file = path.join(mount.dir, `${mode}.db`)
    await sqlite(file, `PRAGMA journal_mode=${mode}; ${SOME_ROWS}`)
    const mapped = new Shell(file)
    t.teardown(() => mapped.kill())
    t.equal(await mapped.execute('PRAGMA mmap_size=100000000'), '100000000\n')
    const check = 'SELECT count(*), sum(b) FROM t'
    for (const sql of ['UPDATE t SET b=1', 'DELETE FROM t WHERE id>100; VACUUM', SOME_ROWS.replaceAll(/\bt\b/g, 'u')]) {
      await mapped.execute(check)
      await sqlite(file, sql)
      t.equal(await mapped.execute(check), await sqlite(file, check), sql)
    }
    await mapped.execute('UPDATE t SET b=5; PRAGMA wal_checkpoint; VACUUM')
    t.equal(await sqlite(file, 'SELECT sum(b) FROM t'), '500\n', 'and they write')
    await agree(t, mount, `${mode}.db`)
    await mapped.close()
  }
})

t.test('read-only and immutable openers', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['delete', 'wal']) {
    const file = path.join(mount.dir, `${mode}.db`)
    await sqlite(file, `PRAGMA journal_mode=${mode}; ${SOME_ROWS}`)
    const position = await positionOf(mount.dir, `${mode}.db`)
    for (const how of ['mode=ro', 'immutable=1', 'mode=ro&immutable=1']) {
      const uri = `file:${file}?${how}`
      t.equal(await sqlite(uri, 'SELECT count(*) FROM t; PRAGMA integrity_check'), '1500\nok\n', `${mode}, ${how}`)
      await t.rejects(sqlite(uri, 'DELETE FROM t'), /readonly/, `${mode}, ${how}: no writes`)
    }
    const count = "new Sqlite(args[0], { readonly: true }).prepare('SELECT count(*) n FROM t').get().n"
    t.equal(await node(`console.log(${count})`, file), '1500\n', 'better-sqlite3, readonly')
    t.same(await positionOf(mount.dir, `${mode}.db`), position, 'nothing was captured')
    const reader = new Shell(`file:${file}?mode=ro`)
    t.teardown(() => reader.kill())
    await reader.execute('SELECT count(*) FROM t')
    await sqlite(file, 'DELETE FROM t WHERE id<=10')
    t.equal(await reader.execute('SELECT count(*) FROM t'), '1490\n', 'a reader follows')
    await reader.close()
    await agree(t, mount, `${mode}.db`)
  }
})

t.test(`${DATABASES} databases at once`, async (t) => {
  const mount = await startMount(t, HISTORY)
  const script = `
    const [dir, count] = args, open = []
    for (let n = 0; n < count; n++) {
      const db = new Sqlite(dir + '/' + n + '.db')
      db.pragma('journal_mode=' + ['wal', 'delete', 'truncate', 'persist'][n % 4])
      db.pragma('synchronous=' + (n % 3))
      db.exec('CREATE TABLE t(a)')
      open.push(db)
    }
    for (const round of [1, 2]) for (const [n, db] of open.entries()) db.prepare('INSERT INTO t VALUES(?)').run(round * n)
    for (const db of open) db.close()`
  await node(script, mount.dir, `${DATABASES}`)
  const sample = [0, 1, 2, 3, 150, DATABASES - 1]
  for (const n of sample) await agree(t, mount, `${n}.db`)
  t.equal(await mount.stop(), 0)
  const again = await startMount(t, { ...HISTORY, dataDir: mount.dataDir })
  const sums = `for (let n = 0; n < args[1]; n++) {
      const { s } = new Sqlite(args[0] + '/' + n + '.db').prepare('SELECT sum(a) s FROM t').get()
      if (s !== 3 * n) console.log(n, s)
    }`
  t.equal(await node(sums, again.dir, `${DATABASES}`), '', 'all have what was written')
  for (const n of sample) await agree(t, again, `${n}.db`)
  await writeFile(path.join(again.dir, 'one-more.db'), '')
})
