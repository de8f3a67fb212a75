// `litefs replicate` beside real applications: what they commit can be restored, and what it cannot have seen is found out.
import { existsSync } from 'node:fs'
import { copyFile, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { litestreamRestore } from '../backup/oracle.js'
import { restored, sql, WAIT_MS } from '../system/backups.js'
import { litefsScript, run } from '../system/harness.js'
import { contentHash } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import { backupUrl, printed, start, startReplicate } from './replications.js'

const WAL_HEADER_AND_COPIES = 136

/** Waits until the newest of the backup is what the database has. */
async function backedUp(t: Test, file: string, url: string): Promise<void> {
  const wanted = await contentHash(file)
  await eventually(`${wanted} in the backup of ${file}`, WAIT_MS, async () => {
    const found = await restored(t, url).catch(() => undefined)
    return (found !== undefined && (await contentHash(found.file)) === wanted) || undefined
  })
}

/** Restores by both and compares the bytes. */
async function sameAsLitestream(t: Test, url: string, what: string): Promise<void> {
  const { file } = await restored(t, url)
  await litestreamRestore(t, url, `${file}.judge`)
  t.ok((await readFile(file)).equals(await readFile(`${file}.judge`)), `${what}: the bytes that Litestream restores`)
}

async function uploads(directory: string): Promise<string[]> {
  return (await readdir(path.join(directory, 'backup/ltx/0'))).sort()
}

t.test('what an application commits, whatever it does between', async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'my.db')
  const url = backupUrl(directory)
  // A rollback journal to begin with; the database comes when replicate runs already.
  const replicate = await startReplicate(t, file, url, { levels: [], 'l0-retention': '0s', snapshot: {} })
  await printed(replicate, 'there is no database')
  const statements = [
    'pragma journal_mode = delete; create table t(a integer primary key, b); insert into t values (1, hex(randomblob(9000)))',
    'insert into t select a + 1, hex(randomblob(90000)) from t; pragma wal_checkpoint(TRUNCATE)',
    'insert into t values (7, 8); pragma wal_checkpoint(RESTART); insert into t values (8, 8)',
    'delete from t where a = 2; vacuum',
    'begin; create table u(c); insert into u select hex(randomblob(4000)) from t; drop table t; commit',
  ]
  for (const statement of statements) {
    await sql(file, `.timeout 100\n${statement}`)
    await backedUp(t, file, url)
    await sameAsLitestream(t, url, statement)
  }
  t.equal((await sql(file, 'pragma journal_mode')).trim(), 'wal', 'as with Litestream')

  const before = await uploads(directory)
  await sql(file, 'insert into u values (1)')
  t.equal(await replicate.end('SIGTERM'), 0)
  t.equal(
    await contentHash((await restored(t, url)).file),
    await contentHash(file),
    'the last transaction is uploaded at the end',
  )
  t.notMatch(replicate.output(), /level=(?:WARN|ERROR)/)

  // Its backup has all of it.
  const again = await startReplicate(t, file, url)
  t.equal(await again.end('SIGTERM'), 0)
  t.equal((await uploads(directory)).length, before.length + 1, 'a new start uploads nothing')
  t.notOk(existsSync(`${file}-wal`), 'nobody keeps it open')
})

t.test('what happens while it does not run', async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'my.db')
  const url = backupUrl(directory)
  const keys = { levels: [], snapshot: {} }
  await sql(file, 'pragma journal_mode = wal; create table t(a); insert into t values (hex(randomblob(200000)))')
  let replicate = await startReplicate(t, file, url, keys)
  await backedUp(t, file, url)

  // Somebody keeps the WAL: what was written to it leads on, so no full copy is needed.
  const keeper = start(t, [
    '-e',
    `const D = require('better-sqlite3'); const d = new D(${JSON.stringify(file)}); d.exec('begin'); d.pragma('schema_version'); console.log('keeps'); setInterval(() => {}, 1000)`,
  ])
  await printed(keeper, 'keeps')
  await replicate.end('SIGKILL')
  await sql(file, 'insert into t values (2)')
  replicate = await startReplicate(t, file, url, keys)
  await backedUp(t, file, url)
  t.notMatch(replicate.output(), /all of it/, 'only what is new')
  await keeper.end('SIGKILL')

  for (const change of ['insert into t values (3)', 'pragma journal_mode = delete; pragma page_size = 8192; vacuum']) {
    await replicate.end('SIGKILL')
    await sql(file, change)
    replicate = await startReplicate(t, file, url, keys)
    await backedUp(t, file, url)
    // After another page size, Litestream has to wait for the full copy that follows.
    const isResized = change.includes('page_size')
    const full = `${directory}/backup/ltx/9`
    if (isResized)
      await eventually(
        `a file in ${full}`,
        WAIT_MS,
        async () => (existsSync(full) && (await readdir(full)).some((name) => name.endsWith('.ltx'))) || undefined,
      )
    await sameAsLitestream(t, url, change)
    t.match(replicate.output(), /all of it is uploaded/, change)
  }

  // Under its name is another database, then none, then the first one.
  await sql(`${file}.other`, 'pragma journal_mode = wal; create table other(a); insert into other values (1)')
  await copyFile(file, `${file}.kept`)
  for (const suffix of ['', '-wal', '-shm']) await rm(`${file}${suffix}`, { force: true })
  await rename(`${file}.other`, file)
  await printed(replicate, 'removed or replaced')
  await backedUp(t, file, url)
  for (const suffix of ['', '-wal', '-shm']) await rm(`${file}${suffix}`, { force: true })
  await printed(replicate, 'there is no database')
  await rename(`${file}.kept`, file)
  await backedUp(t, file, url)
  await sql(file, 'insert into t values (4)')
  await backedUp(t, file, url)
  t.equal(await replicate.end('SIGTERM'), 0)
})

t.test('a transaction whose writer was killed before anybody saw it is none', async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'my.db')
  const url = backupUrl(directory)
  await sql(file, 'pragma journal_mode = wal; create table t(a); insert into t values (1)')
  const replicate = await startReplicate(t, file, url, { levels: [], snapshot: {} })
  await backedUp(t, file, url)
  await sql(file, 'insert into t values (2)')
  await backedUp(t, file, url)

  // The frames of a whole transaction, which the wal-index does not count.
  replicate.child.kill('SIGSTOP')
  const shm = await open(`${file}-shm`, 'r+')
  const index = Buffer.alloc(WAL_HEADER_AND_COPIES)
  await shm.read(index, 0, index.length, 0)
  await sql(file, "insert into t values ('nobody saw this')")
  await shm.write(index, 0, index.length, 0)
  await shm.close()
  replicate.child.kill('SIGCONT')
  const before = await uploads(directory)
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.strictSame(await uploads(directory), before, 'nothing is new')
  t.equal((await sql(file, 'select count(*) from t')).trim(), '2', 'nor for SQLite')
  await sql(file, "insert into t values ('this is')")
  await backedUp(t, file, url)
  t.equal(await sql((await restored(t, url)).file, 'select * from t'), '1\n2\nthis is\n')
  t.equal(await replicate.end('SIGTERM'), 0)
  t.notMatch(replicate.output(), /level=(?:WARN|ERROR)/)
})

t.test('pages of the least and of the largest size, in places whose names mean something in URLs', async (t) => {
  for (const pageSize of [512, 65_536]) {
    const directory = t.testdir({ 'ä #1?': {}, 'ä #2?': {} })
    const file = path.join(directory, 'ä #1?/100%.db')
    const [place, other] = [path.join(directory, 'ä #1?/backup'), path.join(directory, 'ä #2?/backup')]
    const once = (to: string) => run(process.execPath, [litefsScript, 'replicate', '-once', file, to])
    await sql(file, `pragma page_size = ${pageSize}; create table t(a); insert into t values (randomblob(300000))`)
    t.match(await once(place), { code: 0 })
    await sql(file, 'update t set a = randomblob(200000); insert into t values (1)')
    t.match(await once(place), { code: 0 })
    t.match(await once(other), { code: 0 }, 'another place')
    await rename(place, path.join(directory, 'backup'))
    await sameAsLitestream(t, backupUrl(directory), `${pageSize} bytes a page`)
    const { file: found } = await restored(t, pathToFileURL(other).href)
    t.equal(await contentHash(found), await contentHash(file))
    t.equal(await sql(found, 'pragma page_size; pragma integrity_check'), `${pageSize}\nok\n`)
  }
})

t.test('the command line', async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'my.db')
  const url = backupUrl(directory)
  const litefs = (...args: string[]) => run(process.execPath, [litefsScript, ...args])
  await sql(file, 'create table t(a); insert into t values (1)')

  const once = await litefs('replicate', '-once', file, url)
  t.equal(once.code, 0, once.stderr)
  await sameAsLitestream(t, url, 'once')
  t.equal((await litefs('replicate', '-once', '-force-snapshot', '-enforce-retention', file, url)).code, 0)
  t.strictSame(await readdir(path.join(directory, 'backup/ltx/9')), ['0000000000000001-0000000000000001.ltx'])

  const insert = `const D = require('better-sqlite3'); new D(${JSON.stringify(file)}).exec('insert into t values (2)'); process.exit(7)`
  const exec = await litefs(
    'replicate',
    '-exec',
    `${process.execPath} -e "${insert.replaceAll('"', '\\"')}"`,
    file,
    `${directory}/backup`,
  )
  t.equal(exec.code, 7, 'the exit code of its command')
  t.equal(await sql((await restored(t, url)).file, 'select * from t'), '1\n2\n', 'what the command wrote is uploaded')

  const onSignal = `process.on('SIGTERM', () => { new (require('better-sqlite3'))('${file}').exec('insert into t values (3)'); process.exit(5) })`
  const app = `${process.execPath} -e "${onSignal}; setInterval(() => {}, 1000); console.log('began'.toUpperCase())"`
  const supervised = start(t, [litefsScript, 'replicate', '-exec', app, file, url])
  await printed(supervised, 'BEGAN')
  t.equal(await supervised.end('SIGTERM'), 5, 'the command gets the signal, and has the last word')
  t.equal(
    await sql((await restored(t, url)).file, 'select max(a) from t'),
    '3\n',
    'what it wrote at the end is uploaded',
  )
  await sql(file, 'delete from t where a = 3')

  const replicate = await startReplicate(t, file, url)
  const second = await litefs('replicate', '-once', file, url)
  t.match(second, { code: 1, stderr: /another litefs replicate does already/ })
  const config = `${file}.yml`
  const { stdout } = await litefs('databases', '-config', config, '-json')
  t.match(JSON.parse(stdout), [{ path: file, replica: url, exists: true }])
  t.equal(await replicate.end('SIGTERM'), 0)

  await rm(file)
  const restore = await litefs('restore', '-config', config, '-if-db-not-exists', '-if-replica-exists', file)
  t.equal(restore.code, 0, restore.stderr)
  t.equal(await sql(file, 'select * from t'), '1\n2\n', 'by the path of the configuration')
  t.match(await litefs('restore', '-config', config, '-if-db-not-exists', file), { code: 0, stdout: /exists/ })
  t.match(await litefs('restore', '-config', config, `${file}x`), { code: 1, stderr: /has only .*my\.db/ })
  await rm(file)
  t.equal((await litefs('replicate', '-once', '-restore-if-db-not-exists', '-config', config)).code, 0)
  t.equal(await sql(file, 'select * from t'), '1\n2\n', 'restored before it is backed up')

  for (const [args, message] of [
    [['-once', '-exec', 'true', file, url], /-once with -exec/],
    [['-force-snapshot', file, url], /without -once/],
    [[file], /it has no URL/],
    [['-config', `${file}.none`], /no such file/],
  ] as const) {
    t.match(await litefs('replicate', ...args), { code: 2, stderr: message }, args.join(' '))
  }
  t.match(await litefs('replicate', '-once', `${directory}/none.db`, url), { code: 1, stderr: /there is no database/ })
  t.match(await litefs('replicate', '-once', config, url), { code: 1, stderr: /not a database/ })
})
