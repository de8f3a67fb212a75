import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { run, startMount } from './harness.js'
import { positionOf, sqlite } from './judges.js'
import { smallDisk } from './small-disk.js'

const MODES = ['wal', 'delete', 'truncate', 'persist'] as const
const ALL = process.env['FAULTS_ALL'] !== undefined
/** Room for the log's two segments of 8 MiB and a few MiB of data; ext4 takes some for itself. */
const DISKS = ALL
  ? ([
      ['tmpfs', '24m'],
      ['ext4', '40m'],
    ] as const)
  : ([['tmpfs', '24m']] as const)
/** How many bytes are left on the disk. */
const LEFT = ALL ? [0, 20_000, 70_000, 300_000, 1_000_000] : [0]
/** Of a transaction; the first fit into what the log has reserved. */
const SIZES = [100, 5000, 300_000, 3_000_000]

/** Nothing can be created in the directory until `thaw`, not even by root. */
async function freeze(t: Test, dir: string): Promise<void> {
  t.teardown(() => thaw(dir))
  const { code, stderr } = await run('chattr', ['+i', dir])
  t.equal(code, 0, stderr)
}

async function thaw(dir: string): Promise<void> {
  await run('chattr', ['-i', dir])
}

async function insert(file: string, bytes: number): Promise<{ code: number | null; stderr: string }> {
  return run('sqlite3', ['-bail', '-cmd', '.timeout 10000', file], {
    input: `INSERT INTO t VALUES(randomblob(${bytes}));\n`,
  })
}

t.setTimeout(ALL ? 1_800_000 : 300_000)

t.test('a full disk fails the transaction and nothing else', async (t) => {
  for (const [type, size] of DISKS) {
    for (const left of LEFT) {
      for (const mode of MODES) await fillDisk(t, await smallDisk(t, size, type), { mode, left, type })
    }
  }
})

/** Takes all space of a disk but `left` bytes, and gives it back later. */
async function fillDisk(t: Test, disk: string, how: { mode: string; left: number; type: string }): Promise<void> {
  const { mode, left } = how
  const what = `${how.type}, ${left} bytes left, ${mode}`
  const dataDir = path.join(disk, 'data')
  await mkdir(dataDir)
  const mount = await startMount(t, { dataDir })
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE t(b BLOB); INSERT INTO t VALUES(randomblob(1000));`)
  await agree(t, mount, 'a.db')
  const [filler, spare] = [path.join(disk, 'filler'), path.join(disk, 'spare')]
  await writeFile(spare, Buffer.alloc(left, 1))
  await run('sh', ['-c', `dd if=/dev/zero of=${filler} bs=4k 2>/dev/null; sync -f ${filler}`])
  await rm(spare)

  const before = await positionOf(mount.dir, 'a.db')
  for (const bytes of SIZES) {
    const { code, stderr } = await insert(file, bytes)
    // What fits into the log's space is safe there, and is written to the database later.
    if (bytes > (left === 0 ? 5000 : 300_000)) t.not(code, 0, `${what}: ${bytes} bytes do not fit`)
    if (code !== 0) t.match(stderr, /full|disk I\/O error/, `${what}: SQLite says why`)
  }
  await rm(filler)
  const rows = Number((await sqlite(file, 'SELECT count(*) FROM t')).trim())
  const full = await positionOf(mount.dir, 'a.db')
  const spent = BigInt(`0x${full.txid}`) - BigInt(`0x${before.txid}`)
  t.equal(spent, BigInt(rows - 1), `${what}: one TXID for each row that is there`)
  t.equal((await insert(file, 300_000)).code, 0, `${what}: there is space again`)
  t.equal((await sqlite(file, 'SELECT count(*) FROM t')).trim(), String(rows + 1))
  await agree(t, mount, 'a.db')
  t.equal(await mount.stop(), 0)
  const again = await startMount(t, { dataDir })
  const found = (await sqlite(path.join(again.dir, 'a.db'), 'SELECT count(*) FROM t')).trim()
  t.equal(found, String(rows + 1), `${what}: after a restart`)
  await agree(t, again, 'a.db')
  t.equal(await again.stop(), 0)
}

t.test('LTX files that cannot be written wait in the log; large ones fail their transaction', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'PRAGMA journal_mode=wal; CREATE TABLE t(b BLOB);')
  await agree(t, mount, 'a.db')
  const ltxDir = path.join(mount.dataDir, 'dbs', 'a.db', 'ltx')
  await freeze(t, ltxDir)

  t.equal((await insert(file, 1000)).code, 0, 'a small one is safe in the log')
  await mount.waitForLine('they stay in the log and are tried again')
  const large = await insert(file, 4_000_000)
  t.not(large.code, 0)
  t.match(large.stderr, /disk I\/O error|unable to open|full/)
  t.equal((await sqlite(file, 'SELECT count(*) FROM t')).trim(), '1', 'the large one is rolled back')

  await thaw(ltxDir)
  await mount.waitForLine('LTX files are written again')
  t.equal((await insert(file, 4_000_000)).code, 0)
  await agree(t, mount, 'a.db')
  t.equal(await mount.stop(), 0)
})

t.test('a killed daemon leaves a log that the next one writes out', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'PRAGMA journal_mode=wal; CREATE TABLE t(b BLOB);')
  const ltxDir = path.join(mount.dataDir, 'dbs', 'a.db', 'ltx')
  await agree(t, mount, 'a.db')
  await freeze(t, ltxDir)
  for (let i = 0; i < 5; i++) t.equal((await insert(file, 1000)).code, 0)
  const position = await positionOf(mount.dir, 'a.db')
  await mount.kill('SIGKILL')
  await thaw(ltxDir)
  const again = await startMount(t, { dataDir: mount.dataDir, mountDir: mount.dir })
  t.same(await positionOf(again.dir, 'a.db'), position)
  await agree(t, again, 'a.db')
})

t.test('a database that cannot be recovered is set aside, the others start', async (t) => {
  const mount = await startMount(t)
  for (const name of ['good.db', 'bad.db']) {
    await sqlite(
      path.join(mount.dir, name),
      'CREATE TABLE t(a); CREATE TABLE big(b); INSERT INTO big VALUES(randomblob(100000)); INSERT INTO t VALUES(3);',
    )
    await agree(t, mount, name)
  }
  t.equal(await mount.stop(), 0)
  const bad = path.join(mount.dataDir, 'dbs', 'bad.db')
  for (const old of (await readdir(path.join(bad, 'ltx'))).sort().slice(0, -1)) await rm(path.join(bad, 'ltx', old))
  await writeFile(path.join(bad, 'database'), Buffer.alloc(8192, 'x'))

  const again = await startMount(t, { dataDir: mount.dataDir })
  await again.waitForLine('database bad.db is set aside as')
  t.equal((await sqlite(path.join(again.dir, 'good.db'), 'SELECT sum(a) FROM t')).trim(), '3')
  t.same(
    (await readdir(again.dir)).filter((name) => name.startsWith('bad')),
    [],
  )
  const [aside = ''] = await readdir(path.join(mount.dataDir, 'unrecovered'))
  t.match(aside, /^bad\.db-/)
  t.ok((await readdir(path.join(mount.dataDir, 'unrecovered', aside))).includes('database'), 'with everything it had')
})
