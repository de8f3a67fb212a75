// litefs on what LiteFS 0.5 left behind: the judges are LiteFS' own positions, and SQLite.
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { litefsScript, type Mount, run, startMount } from './harness.js'
import { checksumFromScratch, contentHash, positionOf, rebuildFromLtx, sqlite } from './judges.js'

const RECORDED = fileURLToPath(new URL('../fixtures/litefs/data-0.5.14.tar.gz', import.meta.url))
const SHARED = fileURLToPath(new URL('../../../shared/fixtures/litefs/store/open-and-write-snapshot', import.meta.url))
const CLUSTER_ID = 'LFSC17E141C18F3F0F6F\n'
const POSITIONS = {
  'rollback.db': { txid: '0000000000000003', checksum: 'e9b9c59af4e0be07' },
  'wal.db': { txid: '0000000000000008', checksum: 'c85639d52ab9d358' },
}
const NAMES = ['rollback.db', 'wal.db'] as const

/** A copy of the recorded directory, with a file `id` as older versions of LiteFS had. */
async function recordedData(t: Test): Promise<string> {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-test-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const dataDir = path.join(base, 'data')
  await mkdir(dataDir)
  const { code, stderr } = await run('tar', ['-xzf', RECORDED, '-C', dataDir, '--no-same-owner'])
  if (code !== 0) throw new Error(`Cannot unpack ${RECORDED}: ${stderr}`)
  await writeFile(path.join(dataDir, 'id'), 'F778001EC97EE331')
  return dataDir
}

async function versionsOf(dataDir: string, name: string): Promise<number[]> {
  const { stdout } = await run(process.execPath, [
    litefsScript,
    'ltx',
    'list',
    '--json',
    path.join(dataDir, 'dbs', name, 'ltx'),
  ])
  return (JSON.parse(stdout) as { version: number }[]).map(({ version }) => version)
}

async function expectContent(t: Test, mount: Mount): Promise<void> {
  const count = "SELECT count(*), sum(b = 'second'), sum(length(b) = 400) FROM t"
  t.equal(await sqlite(path.join(mount.dir, 'rollback.db'), count), '50|3|47\n')
  const rows = 'SELECT count(*), max(a) FROM t; SELECT b FROM t ORDER BY a DESC LIMIT 4'
  const found = '34|34\ncommitted 2\ncommitted 1\ncommitted 0\nkept\n'
  t.equal(await sqlite(path.join(mount.dir, 'wal.db'), rows), found)
}

t.test('a directory with a hot journal and a hot WAL goes on where LiteFS was', async (t) => {
  const dataDir = await recordedData(t)
  const first = await startMount(t, { dataDir, configExtra: { data: { retention: '0s' } } })
  t.same((await readdir(first.dir)).filter((name) => !name.startsWith('.')).sort(), [
    'rollback.db',
    'rollback.db-pos',
    'wal.db',
    'wal.db-pos',
  ])
  await expectContent(t, first)
  for (const name of NAMES) {
    t.same(await positionOf(first.dir, name), POSITIONS[name], `${name}: LiteFS' own position`)
    const rebuilt = await rebuildFromLtx(dataDir, name)
    t.equal(await checksumFromScratch(rebuilt), POSITIONS[name].checksum, `${name}: from LiteFS' files alone`)
    await agree(t, first, name)
    await sqlite(path.join(first.dir, name), "INSERT INTO t(b) VALUES('ours'); UPDATE t SET b='changed' WHERE a=10;")
    await agree(t, first, name)
  }
  const versions = await versionsOf(dataDir, 'rollback.db')
  t.same(versions, [1, 1, 1, 3, 3])
  const verified = await run(process.execPath, [
    litefsScript,
    'ltx',
    'verify',
    ...NAMES.map((name) => path.join(dataDir, 'dbs', name, 'ltx')),
  ])
  t.match(verified, { code: 0, stdout: /^ok: 15 files; the chain leads from the beginning/ })

  await sqlite(path.join(first.dir, 'dropped.db'), 'CREATE TABLE again(a); INSERT INTO again VALUES(1)')
  t.match(await positionOf(first.dir, 'dropped.db'), { txid: '0000000000000004' })
  const before = await Promise.all(NAMES.map((name) => positionOf(first.dir, name)))
  await first.stop()

  const second = await startMount(t, { dataDir, configExtra: { data: { retention: '0s' } } })
  for (const [i, name] of [...NAMES].entries()) {
    t.same(await positionOf(second.dir, name), before[i])
    t.equal(await sqlite(path.join(second.dir, name), "SELECT count(*) FROM t WHERE b IN ('ours', 'changed')"), '2\n')
    await agree(t, second, name)
  }
  await agree(t, second, 'dropped.db')
  t.equal(await readFile(path.join(dataDir, 'clusterid'), 'utf8'), CLUSTER_ID)
  t.equal(await readFile(path.join(dataDir, 'id'), 'utf8'), 'F778001EC97EE331')
  t.notOk(existsSync(path.join(dataDir, 'unrecovered')))
})

t.test('what was committed and had no LTX file yet gets one, and a WAL that is behind is overtaken', async (t) => {
  for (const [what, files] of [
    ['WAL ahead', ['ltx/0000000000000008-0000000000000008.ltx']],
    ['WAL far ahead', [6, 7, 8].map((txid) => `ltx/000000000000000${txid}-000000000000000${txid}.ltx`)],
    ['WAL lost', ['wal']],
  ] as const) {
    const dataDir = await recordedData(t)
    for (const file of files) await rm(path.join(dataDir, 'dbs/wal.db', file))
    const mount = await startMount(t, { dataDir })
    await expectContent(t, mount)
    t.same(await positionOf(mount.dir, 'wal.db'), POSITIONS['wal.db'], what)
    await agree(t, mount, 'wal.db')
    await sqlite(path.join(mount.dir, 'wal.db'), "INSERT INTO t(b) VALUES('ours')")
    await agree(t, mount, 'wal.db')
    await mount.stop()
  }
})

t.test('a snapshot that arrived is the newest, whatever lies beside it', async (t) => {
  const dataDir = await recordedData(t)
  const ltxDir = path.join(dataDir, 'dbs/wal.db/ltx')
  const merged = await run(process.execPath, [
    litefsScript,
    'ltx',
    'merge',
    '--v1',
    '-o',
    path.join(dataDir, 'dbs'),
    ltxDir,
  ])
  t.match(merged, { code: 0 })
  const snapshot = '0000000000000001-0000000000000008.ltx'
  await cp(path.join(dataDir, 'dbs', snapshot), path.join(ltxDir, snapshot))
  for (const txid of [2, 8]) await rm(path.join(ltxDir, `000000000000000${txid}-000000000000000${txid}.ltx`))
  await rm(path.join(dataDir, 'dbs', snapshot))
  await rm(path.join(dataDir, 'dbs/wal.db/wal'))
  await rm(path.join(dataDir, 'dbs/wal.db/database'))
  const mount = await startMount(t, { dataDir })
  await expectContent(t, mount)
  t.same(await positionOf(mount.dir, 'wal.db'), POSITIONS['wal.db'])
})

t.test("the directory in LiteFS' tests, whose older LTX files are gone", async (t) => {
  if (!existsSync(SHARED)) {
    t.comment(`${SHARED} is not there: not checked`)
    return
  }
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-test-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const dataDir = path.join(base, 'data')
  await cp(SHARED, dataDir, { recursive: true })
  const mount = await startMount(t, { dataDir })
  const file = path.join(mount.dir, 'sqlite.db')
  const before = await contentHash(file)
  const { txid, checksum } = await positionOf(mount.dir, 'sqlite.db')
  t.equal(txid, '000000000000000d')
  t.equal(checksum, await checksumFromScratch(path.join(SHARED, 'dbs/sqlite.db/database')))
  await sqlite(file, "CREATE TABLE ours(a); INSERT INTO ours VALUES('1')")
  const after = await contentHash(file)
  t.not(after, before)
  t.match(await positionOf(mount.dir, 'sqlite.db'), { txid: '000000000000000f' })
  await mount.stop()
  const output = path.join(base, 'applied.db')
  await cp(path.join(SHARED, 'dbs/sqlite.db/database'), output)
  const ltxDir = path.join(dataDir, 'dbs/sqlite.db/ltx')
  const ours = (await readdir(ltxDir)).filter((name) => !name.startsWith('000000000000000d'))
  const applied = await run(process.execPath, [
    litefsScript,
    'ltx',
    'apply',
    '-o',
    output,
    ...ours.sort().map((name) => path.join(ltxDir, name)),
  ])
  t.match(applied, { code: 0 })
  t.equal(await contentHash(output), after)
})
