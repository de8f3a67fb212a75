// Application and daemon are killed inside operations that change a whole database: VACUUM, checkpoints, imports, drops.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, run, startMount } from './harness.js'
import { contentHash, integrityCheck, sqlite } from './judges.js'
import { isLong, roundsOf, seededRandom } from './rounds.js'
import { rewriteUnderSuperlock } from './superlock.js'

t.setTimeout(60 * 60_000)

const ROUNDS = roundsOf(2)
const LONGEST_MS = 120
/** The short form tries one in so many steps of a program. */
const SHORT_STRIDE = 4
/** What a shell gives as the exit code of a program that SIGKILL ended. */
const KILLED = 137
const HISTORY = { configExtra: { data: { retention: '24h' } } }
const ROWS = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000)
  INSERT INTO t SELECT i, hex(randomblob(200)) FROM n;`
const CREATE = `PRAGMA auto_vacuum=incremental; CREATE TABLE t(id INTEGER PRIMARY KEY, v); ${ROWS} DELETE FROM t WHERE id%2;`
const random = seededRandom(t)

/** Operations after which the content is what it was, whether they were done, or half done, or not at all. */
const KEEPING: readonly { readonly mode: string; readonly sql: string }[] = [
  { mode: 'delete', sql: 'VACUUM; VACUUM;' },
  { mode: 'persist', sql: 'PRAGMA page_size=1024; VACUUM; PRAGMA page_size=8192; VACUUM;' },
  { mode: 'truncate', sql: 'PRAGMA incremental_vacuum(20); PRAGMA incremental_vacuum; VACUUM;' },
  { mode: 'wal', sql: 'VACUUM; PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(RESTART); VACUUM;' },
  { mode: 'wal', sql: 'PRAGMA journal_mode=delete; PRAGMA page_size=2048; VACUUM; PRAGMA journal_mode=wal; VACUUM;' },
]

/** Starts a program, and kills it, or the daemon, at a random moment; the mount that there is afterwards. */
async function interrupted(t: Test, mount: Mount, victim: 'application' | 'daemon', command: string[]): Promise<Mount> {
  const [program = '', ...args] = command
  const child = spawn(program, args, { stdio: 'ignore' })
  const closed = once(child, 'close')
  await delay(random(LONGEST_MS))
  if (victim === 'daemon') await mount.kill('SIGKILL')
  child.kill('SIGKILL')
  await closed
  return victim === 'application' ? mount : startAgain(t, mount)
}

const startAgain = (t: Test, { dataDir, dir }: Mount) => startMount(t, { ...HISTORY, dataDir, mountDir: dir })

t.test('killed inside VACUUM, checkpoints and changes of the journal mode', async (t) => {
  let mount = await startMount(t, HISTORY)
  for (let round = 0; round < ROUNDS; round++) {
    const { mode, sql } = KEEPING[round % KEEPING.length] ?? { mode: 'delete', sql: 'VACUUM' }
    const name = `${round % KEEPING.length}.db`
    const file = path.join(mount.dir, name)
    await sqlite(file, `DROP TABLE IF EXISTS t; ${CREATE} PRAGMA journal_mode=${mode};`)
    const content = await contentHash(file)
    const victim = random(2) === 0 ? 'application' : 'daemon'
    mount = await interrupted(t, mount, victim, ['sqlite3', file, sql])
    const when = `${mode}, the ${victim} killed, ${sql}`
    t.equal(await contentHash(file), content, `content is kept, ${when}`)
    t.notMatch(mount.output(), /set aside|rebuilt/, when)
    await agree(t, mount, name)
  }
})

t.test('a database file that is behind a change of its page size catches up', async (t) => {
  const mount = await startMount(t, HISTORY)
  const name = 'behind.db'
  const file = path.join(mount.dir, name)
  await sqlite(file, `PRAGMA journal_mode=persist; ${CREATE}`)
  await sqlite(file, 'VACUUM')
  const stored = path.join(mount.dataDir, 'dbs', name, 'database')
  const before = await readFile(stored)
  await sqlite(file, 'PRAGMA page_size=1024; VACUUM; INSERT INTO t SELECT NULL, randomblob(100) FROM t LIMIT 3')
  const content = await contentHash(file)
  await mount.kill('SIGKILL')
  await writeFile(stored, before)
  const again = await startAgain(t, mount)
  t.equal(await contentHash(file), content)
  t.match(again.output(), 'applies LTX files')
  t.notMatch(again.output(), /set aside|rebuilt/)
  await agree(t, again, name)
})

t.test('killed inside an import or a drop', async (t) => {
  let mount = await startMount(t, HISTORY)
  const outside = await mkdtemp(path.join(os.tmpdir(), 'litefs-outside-'))
  t.teardown(() => rm(outside, { recursive: true, force: true }))
  const source = path.join(outside, 'source.db')
  await sqlite(source, `${CREATE} INSERT INTO t SELECT NULL, randomblob(9000) FROM t LIMIT 800;`)
  const imported = await contentHash(source)
  const file = path.join(mount.dir, 'a.db')
  for (let round = 0; round < ROUNDS; round++) {
    await run('rm', ['-f', file])
    await sqlite(file, CREATE)
    const content = await contentHash(file)
    const victim = random(2) === 0 ? 'application' : 'daemon'
    if (round % 2 === 0) {
      mount = await interrupted(t, mount, victim, ['cp', source, file])
      // A killed cp leaves a part of a file, as it does anywhere. It is no transaction, and a start brings back what was there.
      if (victim === 'application' && !(await isWhole(file))) {
        await mount.kill('SIGKILL')
        mount = await startAgain(t, mount)
      }
      const found = await contentHash(file)
      t.ok([content, imported].includes(found), `the old or the new database, the ${victim} killed`)
      await agree(t, mount, 'a.db')
      await copyFile(source, file)
      t.equal(await contentHash(file), imported, 'it can be imported again')
      await agree(t, mount, 'a.db')
    } else {
      mount = await interrupted(t, mount, victim, ['rm', file])
      if ((await readdir(mount.dir)).includes('a.db')) {
        t.equal(await contentHash(file), content, `all of it is there, the ${victim} killed`)
        await agree(t, mount, 'a.db')
      }
    }
    t.notMatch(mount.output(), /set aside|rebuilt/)
  }
})

async function isWhole(file: string): Promise<boolean> {
  return integrityCheck(file).then(
    (answer) => answer === 'ok',
    () => false,
  )
}

t.test(
  'an application that is killed inside a rewrite under a superlock leaves what it leaves on the disk',
  async (t) => {
    let mount = await startMount(t, HISTORY)
    const outside = await mkdtemp(path.join(os.tmpdir(), 'litefs-outside-'))
    t.teardown(() => rm(outside, { recursive: true, force: true }))
    const left = new Map<string, string>()
    for (const inWal of [true, false]) {
      for (let lastStep = isLong ? 1 : 2, killed = true; killed; lastStep += isLong ? 1 : SHORT_STRIDE) {
        const name = `${inWal}-${lastStep}.db`
        const rewrite = async (dir: string) => {
          const file = path.join(dir, name)
          await sqlite(
            file,
            `PRAGMA journal_mode=wal; CREATE TABLE t(n INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, 1)`,
          )
          const { code, stderr } = await rewriteUnderSuperlock(file, { number: 7, inWal, lastStep })
          if (code !== 0 && code !== KILLED) throw new Error(`Cannot rewrite ${file}: ${stderr}`)
          killed = code === KILLED
          return findings(file)
        }
        const expected = await rewrite(outside)
        t.equal(await rewrite(mount.dir), expected, `${name}: as on the disk`)
        if (expected.startsWith('ok')) left.set(name, expected)
      }
    }
    t.ok(left.size >= 2, `${left.size} sound databases`)
    await mount.kill('SIGKILL')
    mount = await startAgain(t, mount)
    for (const [name, expected] of left) {
      t.equal(await findings(path.join(mount.dir, name)), expected, `${name}: after the next start`)
      if (!expected.includes('no such table')) await agree(t, mount, name)
    }
    t.notMatch(mount.output(), /level=ERROR|set aside|rebuilt/)
  },
)

/** What SQLite says of a database: that it is sound, and its content, or what is wrong with it. */
async function findings(file: string): Promise<string> {
  const input = 'PRAGMA integrity_check; SELECT * FROM sqlite_schema; SELECT * FROM t; SELECT * FROM g;'
  const { stdout, stderr } = await run('sqlite3', ['-batch', file], { input })
  return stdout + stderr
}
