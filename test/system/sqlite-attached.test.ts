// Transactions over several databases: a super-journal makes them one, also when the application dies at any of their system calls.
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, startMount } from './harness.js'
import { positionOf, sqlite } from './judges.js'
import { isLong, seededRandom } from './rounds.js'
import { tracedShell } from './shell.js'

t.setTimeout(30 * 60_000)

const HISTORY = { configExtra: { data: { retention: '24h' } } }
/** The short form leaves out so many calls. */
const STRIDE = isLong ? 1 : 12
const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 0);'
const WRITING_CALLS = 'pwrite64,fdatasync,fsync,ftruncate,unlink'
const random = seededRandom(t)

/** Adds 1 everywhere, in one transaction over databases `a` (opened), `b` and `c`. */
function addEverywhere(mode: string, dirs: readonly string[]): string {
  const [, b = '', c = ''] = dirs
  return `ATTACH '${b}/b.db' AS b; ATTACH '${c}/c.db' AS c;
    PRAGMA main.journal_mode=${mode}; PRAGMA b.journal_mode=${mode}; PRAGMA c.journal_mode=${mode};
    BEGIN; UPDATE main.t SET v=v+1; UPDATE b.t SET v=v+1; UPDATE c.t SET v=v+1; COMMIT;
    SELECT 'acknowledged';`
}

async function numberIn(file: string): Promise<number> {
  return Number(await sqlite(file, 'SELECT v FROM t'))
}

t.test('attached databases, savepoints and rollbacks over them', async (t) => {
  const mount = await startMount(t, HISTORY)
  for (const mode of ['delete', 'truncate', 'persist', 'wal']) {
    const [a, b] = [path.join(mount.dir, `${mode}-a.db`), path.join(mount.dir, `${mode}-b.db`)]
    for (const file of [a, b]) await sqlite(file, `PRAGMA journal_mode=${mode}; ${CREATE}`)
    const before = await positionOf(mount.dir, `${mode}-b.db`)
    await sqlite(a, `ATTACH '${b}' AS b; BEGIN; UPDATE main.t SET v=1; UPDATE b.t SET v=1; ROLLBACK;`)
    t.same(await positionOf(mount.dir, `${mode}-b.db`), before, 'a rollback is nothing')
    const printed = await sqlite(
      a,
      `ATTACH '${b}' AS b; PRAGMA b.cache_size=2; PRAGMA cache_size=2;
       BEGIN; UPDATE t SET v=2;
       SAVEPOINT one; UPDATE b.t SET v=2; INSERT INTO b.t(v) VALUES(randomblob(90000));
       SAVEPOINT two; INSERT INTO main.t(v) VALUES(randomblob(90000)); UPDATE b.t SET v=3; ROLLBACK TO two;
       RELEASE one; COMMIT;
       SELECT (SELECT v FROM main.t), (SELECT v FROM b.t), (SELECT count(*) FROM main.t), (SELECT count(*) FROM b.t);`,
    )
    t.equal(printed, '2|2|1|2\n', mode)
    for (const name of [`${mode}-a.db`, `${mode}-b.db`]) await agree(t, mount, name)
  }
  t.notOk(
    (await readdir(mount.dir)).some((name) => name.includes('-mj')),
    'no super-journal is left',
  )
})

for (const where of ['in one mount', 'in the mount and outside'] as const) {
  t.test(`killed at each call of a commit over three databases, ${where}`, async (t) => {
    const mount = await startMount(t, HISTORY)
    const elsewhere = await mkdtemp(path.join(os.tmpdir(), 'litefs-outside-'))
    t.teardown(() => rm(elsewhere, { recursive: true, force: true }))
    for (const mode of ['delete', 'persist', 'truncate']) {
      const a = where === 'in one mount' ? mount.dir : elsewhere
      const dirs = [a, mount.dir, mount.dir]
      await killAtEachCall(t, mount, mode, dirs)
    }
  })
}

async function killAtEachCall(t: Test, mount: Mount, mode: string, dirs: string[]): Promise<void> {
  const files = dirs.map((dir, n) => path.join(dir, `${'abc'[n]}.db`))
  const [first = ''] = files
  for (const file of files) await sqlite(file, `DROP TABLE IF EXISTS t; ${CREATE}`)
  let expected = 0
  let calls = 0
  for (let call = 1 + random(STRIDE), killed = true; killed; call += STRIDE) {
    const result = await tracedShell(first, addEverywhere(mode, dirs), `${WRITING_CALLS}:signal=SIGKILL:when=${call}`)
    killed = result.killed
    calls = call
    t.equal(result.stderr, '', `${mode}, call ${call}: no error before the kill`)
    const values: number[] = []
    // In any order: whoever is opened first finds the others' journals.
    for (const file of random(2) === 0 ? files : [...files].reverse()) values.push(await numberIn(file))
    const acknowledged = result.stdout.includes('acknowledged')
    const when = `${mode}, killed at call ${call}: ${values}, was ${expected}`
    t.ok(new Set(values).size === 1, `everywhere or nowhere, ${when}`)
    t.ok(values[0] === expected + 1 || (values[0] === expected && !acknowledged), `nothing is lost, ${when}`)
    expected = values[0] ?? 0
  }
  t.ok(calls > 10, `${calls} calls`)
  for (const file of files) if (file.startsWith(mount.dir)) await agree(t, mount, path.basename(file))
}

t.test('the daemon is killed between the end of the super-journal and that of the journals', async (t) => {
  const first = await startMount(t, HISTORY)
  const names = ['a.db', 'b.db', 'c.db']
  const files = names.map((name) => path.join(first.dir, name))
  for (const file of files) await sqlite(file, CREATE)
  // The first unlink is the super-journal's, the second would be that of the first journal.
  const script = addEverywhere('delete', [first.dir, first.dir, first.dir])
  const { killed } = await tracedShell(files[0] ?? '', script, 'unlink:signal=SIGKILL:when=2')
  t.ok(killed)
  const journals = (await readdir(first.dir)).filter((name) => name.includes('-journal') || name.includes('-mj'))
  t.same(journals.sort(), ['a.db-journal', 'b.db-journal', 'c.db-journal'], 'only the super-journal is gone')
  await first.kill('SIGKILL')
  const mount = await startMount(t, { ...HISTORY, dataDir: first.dataDir, mountDir: first.dir })
  t.same(await Promise.all(files.map(numberIn)), [1, 1, 1], 'it was committed')
  for (const name of names) await agree(t, mount, name)
})

t.test('the daemon is killed before the end of the super-journal, where a link leads to the mount', async (t) => {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-link-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const mountDir = path.join(base, 'place', 'mount')
  await mkdir(mountDir, { recursive: true })
  await symlink('place', path.join(base, 'link'))
  const configExtra = { ...HISTORY.configExtra, fuse: { dir: path.join(base, 'link', 'mount') } }
  const first = await startMount(t, { mountDir, configExtra })
  const names = ['a.db', 'b.db', 'c.db']
  const files = names.map((name) => path.join(mountDir, name))
  for (const file of files) await sqlite(file, CREATE)
  const script = addEverywhere('delete', [mountDir, mountDir, mountDir])
  const { killed } = await tracedShell(files[0] ?? '', script, 'unlink:signal=SIGKILL:when=1')
  t.ok(killed)
  t.ok(
    (await readdir(mountDir)).some((name) => name.includes('-mj')),
    'the super-journal is there',
  )
  await first.kill('SIGKILL')
  const mount = await startMount(t, { mountDir, configExtra, dataDir: first.dataDir })
  t.same(await Promise.all(files.map(numberIn)), [0, 0, 0], 'it was not committed')
  for (const name of names) await agree(t, mount, name)
})
