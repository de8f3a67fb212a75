// The backup of a real mount: uploaded as it is written, restored by us and by Litestream's own code, at every point that it has.
import { existsSync, mkdirSync } from 'node:fs'
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import http2 from 'node:http2'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { readLtxSummary } from '../../src/db/ltx-file.js'
import { FrameDecoder } from '../../src/replication/frame-decoder.js'
import { encodePositionMap } from '../../src/replication/position-map.js'
import { litestreamAsOf, litestreamRestore } from '../backup/oracle.js'
import { backedUp, backupConfig, names, restored, sameAsLitestream, sql, WAIT_MS } from './backups.js'
import { startCluster, TTL_MS } from './clusters.js'
import { litefsScript, run, startMount } from './harness.js'
import { contentHash } from './judges.js'
import { eventually, inSync } from './replicas.js'

/** In which a file of level 0 has been read: more than the interval of the next level, 1 s. */
const FOUND_MS = 1500
/** Of the table of the tests here. */
const CONTENT = 'select count(*), sum(a), group_concat(substr(b, 1, 20)) from t'

t.test('what is committed can be restored, by Litestream too', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const mount = await startMount(t, { configExtra: backupConfig(backup, { levels: [], 'l0-retention': '0s' }) })
  const file = path.join(mount.dir, 'my.db')
  const hashes: string[] = []
  const times: number[] = []
  const statements = [
    'pragma journal_mode = wal; create table t(a integer primary key, b); insert into t values (1, hex(randomblob(20000)))',
    'insert into t select a + 1, hex(randomblob(9000)) from t; create table u(c)',
    'drop table t; vacuum',
    'insert into u select hex(randomblob(50000)) from (values (1), (2), (3))',
    'pragma journal_mode = delete; insert into u values (5)',
    'delete from u; pragma incremental_vacuum; create index i on u(c)',
  ]
  for (const statement of statements) {
    await sql(file, statement)
    await backedUp(mount, 'my.db')
    hashes.push(await contentHash(file))
    times.push(Date.now())
  }
  const uploads = await names(path.join(backup, 'my.db/ltx/0'))
  t.ok(
    uploads.every((name, i) => name.startsWith(`${(i + 1).toString(16).padStart(16, '0')}-`)),
    'one TXID each',
  )
  const latest = await sameAsLitestream(t, url, 'latest')
  t.equal(await contentHash(latest), hashes.at(-1))
  for (const [i, timeMs] of times.entries()) {
    const { file: then } = await restored(t, url, { beforeMs: timeMs })
    t.equal(await contentHash(then), hashes[i], `as of statement ${i + 1}`)
  }
  // Each TXID: ours against Litestream's, which sees only files up to there.
  const partial = path.join(path.dirname(backup), 'partial')
  for (const [i, name] of uploads.entries()) {
    await mkdir(`${partial}/ltx/0`, { recursive: true })
    await cp(path.join(backup, 'my.db/ltx/0', name), `${partial}/ltx/0/${name}`, { preserveTimestamps: true })
    const { file: ours } = await restored(t, url, { txid: BigInt(i + 1) })
    await litestreamRestore(t, `file://${partial}`, `${ours}.judge`)
    t.ok((await readFile(ours)).equals(await readFile(`${ours}.judge`)), `TXID ${i + 1} as Litestream restores it`)
  }
  t.equal(await mount.stop(), 0)
  t.notMatch(mount.output(), /level=(?:ERROR|WARN).*backup/)
  await looksInto(t, backup, url, uploads)
})

/** `litefs ltx` on the URL of a backup that has these uploads, and one of which is damaged then. */
async function looksInto(t: Test, backup: string, url: string, uploads: readonly string[]): Promise<void> {
  const litefs = (...args: string[]) => run(process.execPath, [litefsScript, 'ltx', ...args])
  const count = uploads.length
  const last = count.toString(16).padStart(16, '0')
  const rows = JSON.parse((await litefs('-json', url)).stdout)
  t.strictSame(
    rows.map((row: Record<string, unknown>) => `${row['min_txid']}-${row['max_txid']}.ltx`),
    uploads,
  )
  const { stdout: table } = await litefs('-level', 'all', url)
  t.match(table, /^level +min_txid +max_txid +size +created\n0 +0{15}1 +0{15}1 +\d+ +2\d{3}-\S+Z\n/)
  t.equal((await litefs('list', url)).stdout, table, 'all levels')
  const { stdout } = await litefs('verify', url)
  t.equal(
    stdout.replace(/\d+ files|of 2.*Z/g, '*'),
    `ok: *; restores TXID 0000000000000001 to ${last}, the last one *\n`,
  )

  const [, second = ''] = uploads
  const file = `${url}/ltx/0/${second}`
  t.match((await litefs('dump', file)).stdout, /minTxid: 0{15}2\n[\s\S]*page 1: offset 100/)
  const content = await readFile(path.join(backup, 'my.db/ltx/0', second))
  await writeFile(path.join(backup, 'my.db/ltx/0', second), content.fill(content.readUInt8(300) ^ 1, 300, 301))
  const damaged = await litefs('verify', url)
  t.match(damaged, { code: 1, stdout: 'its newest state cannot be restored\n' })
  t.match(damaged.stderr, new RegExp(`^${file}: Cannot read LTX file: `))
  t.match(await litefs('dump', file), { code: 1, stderr: new RegExp(`^${file}: Cannot read LTX file: `) })
  t.match(await litefs('verify', `${url}2`), { code: 1, stderr: /there are none at file:/ })
}

t.test('a node goes on where another stopped, and begins from the backup alone', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/a/my.db`
  const configExtra = backupConfig(backup)
  const first = await startMount(t, { configExtra })
  await run('mkdir', [path.join(first.dir, 'a')])
  await sql(path.join(first.dir, 'a/my.db'), 'create table t(a); insert into t values (1)')
  await sql(path.join(first.dir, 'a/my.db'), 'insert into t values (2)')
  t.equal(await first.stop(), 0, 'what was committed last is uploaded at the end')
  t.equal(await sql((await restored(t, url)).file, 'select group_concat(a) from t'), '1,2\n')

  const again = await startMount(t, { configExtra, dataDir: first.dataDir, mountDir: first.dir })
  await sql(path.join(again.dir, 'a/my.db'), 'insert into t values (3)')
  await backedUp(again, 'a/my.db')
  await again.kill('SIGKILL')
  t.notMatch(again.output(), /all of it is uploaded/, 'it went on')
  const wanted = await contentHash(await sameAsLitestream(t, url, 'two runs'))

  const before = await names(path.join(backup, 'a/my.db/ltx/0'))
  const fresh = await startMount(t, { configExtra: backupConfig(backup, { 'restore-if-db-not-exists': true }) })
  t.match(fresh.output(), /a\/my\.db restored from file:.* at 0000000000000004\/[0-9a-f]{16}/)
  t.equal(await contentHash(path.join(fresh.dir, 'a/my.db')), wanted)
  await sql(path.join(fresh.dir, 'a/my.db'), 'insert into t values (4)')
  t.equal(await fresh.stop(), 0)
  t.notMatch(fresh.output(), /all of it is uploaded/)
  const after = (await names(path.join(backup, 'a/my.db/ltx/0'))).filter((name) => !before.includes(name))
  const [upload = ''] = after
  t.equal(after.length, 1, 'only what is new')
  t.equal(readLtxSummary(path.join(backup, 'a/my.db/ltx/0', upload)).header.sourcePosition?.txid, 5n)
  t.ok((await stat(path.join(backup, 'a/my.db/ltx/0', upload))).size < 2 * 4096, 'without the pages that there were')
  t.equal(
    await sql(await sameAsLitestream(t, url, 'restored and gone on'), 'select group_concat(a) from t'),
    '1,2,3,4\n',
  )
  t.strictSame(await names(path.join(fresh.dataDir, 'backup')), [], 'nothing is left in the data directory')
})

t.test('a restore of several databases that fails in the middle is finished by the next start', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const mount = await startMount(t, { configExtra: backupConfig(backup, { levels: [], 'l0-retention': '0s' }) })
  for (const name of ['a.db', 'b.db', 'c.db']) {
    await sql(path.join(mount.dir, name), `create table t(a); insert into t values ('${name}')`)
    await backedUp(mount, name)
  }
  t.equal(await mount.stop(), 0)
  // Of every level: whether there is a snapshot of it already is a matter of time.
  const levels = await readdir(path.join(backup, 'b.db/ltx'))
  const files = await Promise.all(levels.map((level) => names(path.join(backup, 'b.db/ltx', level))))
  const paths = levels.flatMap((level, i) => (files[i] ?? []).map((name) => path.join(backup, 'b.db/ltx', level, name)))
  const sound = await Promise.all(paths.map((file) => readFile(file)))
  for (const [i, content] of sound.entries()) {
    await writeFile(
      paths[i] ?? '',
      content.map((byte, at) => (at === content.length >> 1 ? byte ^ 1 : byte)),
    )
  }

  const configExtra = backupConfig(backup, { 'restore-if-db-not-exists': true })
  const dataDir = path.join(t.testdirName, 'data')
  const started = startMount(t, { configExtra, dataDir, args: ['--', 'echo', 'the application began'] })
  const { message } = await started.then(
    () => t.fail('it started'),
    (error) => error,
  )
  t.match(message, 'a.db restored from')
  t.match(message, 'Cannot restore b.db from')
  t.notMatch(message, 'the application began')
  for (const [i, content] of sound.entries()) await writeFile(paths[i] ?? '', content)
  const again = await startMount(t, { configExtra, dataDir })
  await again.waitForLine('c.db restored from')
  for (const name of ['a.db', 'b.db', 'c.db']) {
    t.equal(await sql(path.join(again.dir, name), 'select a from t'), `${name}\n`)
  }
  t.equal(await again.stop(), 0)
  t.notOk(existsSync(path.join(dataDir, 'restoring')))
})

t.test('uploads are merged and removed, and every point within the retention stays', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const snapshot = { interval: '1s', retention: '1h' }
  const mount = await startMount(t, { configExtra: backupConfig(backup, { snapshot }) })
  const file = path.join(mount.dir, 'my.db')
  await sql(file, 'pragma journal_mode = wal; create table t(a integer primary key, b)')
  const points: { timeMs: number; hash: string }[] = []
  for (const start = Date.now(); Date.now() - start < 3000; ) {
    await sql(file, 'begin; insert into t(b) values (hex(randomblob(3000))); delete from t where a % 7 = 3; commit')
    await backedUp(mount, 'my.db')
    points.push({ timeMs: Date.now(), hash: await contentHash(file) })
  }
  await eventually('merged files', WAIT_MS, async () => {
    const [l0, l1, l2, l9] = await Promise.all(
      ['0', '1', '2', '9'].map((level) => names(`${backup}/my.db/ltx/${level}`)),
    )
    return (l0?.length === 1 && l1 && l1.length > 1 && l2 && l2.length > 1 && l9 && l9.length > 1) || undefined
  })
  await sameAsLitestream(t, url, 'merged')
  // A merged file has the time of its last transaction: what lies between two of them is gone with the uploads.
  const hashes = new Set(points.map(({ hash }) => hash))
  for (const { timeMs } of points.filter((_, i) => i % Math.ceil(points.length / 6) === 3)) {
    const { file: then } = await restored(t, url, { beforeMs: timeMs })
    t.ok(hashes.has(await contentHash(then)), `what there was before ${timeMs}`)
    t.equal(await sql(then, CONTENT), await litestreamAsOf(t, url, timeMs, CONTENT), 'and what Litestream finds')
  }
  t.equal(await mount.stop(), 0)
  t.notMatch(mount.output(), /level=(?:ERROR|WARN).*backup/)
})

t.test('a restore that a node had not finished is forgotten once it follows a primary', async (t) => {
  const backup = backupConfig(path.join(t.testdir(), 'backup'), { 'restore-if-db-not-exists': true })
  const { places, primary } = await startCluster(t, 2, TTL_MS, 'etcd', ({ hostname, dataDir }) => {
    if (hostname === 'n2') mkdirSync(path.join(dataDir, 'restoring'), { recursive: true })
    return { configExtra: backup }
  })
  const [first, second] = places
  if (first === undefined || second === undefined) throw new Error('two nodes')
  await eventually('no mark', WAIT_MS, async () => !existsSync(path.join(second.dataDir, 'restoring')) || undefined)
  for (const name of ['kept.db', 'dropped.db']) {
    await sql(path.join(first.dir, name), 'create table t(a)')
    await backedUp(first.mount, name)
  }
  await rm(path.join(first.dir, 'dropped.db'))
  await inSync(t, { primary: first.mount, replica: second.mount }, 'kept.db')
  t.equal(await first.mount.stop(), 0)
  t.equal(await primary([second]), second)
  await backedUp(second.mount, 'kept.db')
  const databases = (await readdir(second.dir)).filter((name) => name.endsWith('.db'))
  t.same(databases, ['kept.db'], 'what was dropped meanwhile does not come back')
})

t.test('goes on where Litestream stopped', async (t) => {
  const fixtures = fileURLToPath(new URL('../../../shared/fixtures/litestream', import.meta.url))
  if (!existsSync(fixtures)) {
    t.comment(`Cannot check backups that Litestream wrote: there are none in ${fixtures}`)
    return
  }
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  await cp(fixtures, path.join(backup, 'my.db'), { recursive: true })
  const more = { 'restore-if-db-not-exists': true, levels: [], 'l0-retention': '0s' }
  await t.rejects(
    startMount(t, { configExtra: backupConfig(path.join(backup, 'my.db'), more) }),
    { message: /that is the backup of one database; backup\.url is the directory above it/ },
    "Litestream's URL of the database itself",
  )
  const mount = await startMount(t, { configExtra: backupConfig(backup, more) })
  t.equal(await sql(path.join(mount.dir, 'my.db'), 'select count(*) from t'), '202\n', 'begins with what is there')
  await mount.waitForLine('was written by Litestream')
  await sql(path.join(mount.dir, 'my.db'), 'delete from t where rowid % 2 = 0')
  t.equal(await mount.stop(), 0)
  const names0 = await names(path.join(backup, 'my.db/ltx/0'))
  t.ok(names0.length > 3 && names0.includes('0000000000000005-0000000000000005.ltx'), 'the next TXIDs')
  const file = await sameAsLitestream(t, url, 'both')
  t.equal(await sql(file, 'select count(*) from t'), '101\n')
  t.equal(
    await sql((await restored(t, url, { txid: 4n })).file, 'select count(*) from t'),
    '202\n',
    'as Litestream left it',
  )
})

t.test('two that write to one backup cannot mix, and history that diverged is told', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const configExtra = backupConfig(backup, { levels: [], 'sync-interval': '20ms' })
  const one = await startMount(t, { configExtra })
  await sql(path.join(one.dir, 'my.db'), "create table t(who); insert into t values ('one')")
  await backedUp(one, 'my.db')
  const two = await startMount(t, { configExtra })
  await sql(path.join(two.dir, 'my.db'), "create table t(who); insert into t values ('two')")
  await backedUp(two, 'my.db')
  await two.waitForLine('does not lead on from its backup')
  await sql(path.join(one.dir, 'my.db'), "insert into t values ('one'); insert into t values ('one')")
  await one.waitForLine('writes there, too')
  const file = await sameAsLitestream(t, url, 'both')
  t.match(await sql(file, 'select group_concat(distinct who) from t'), /^(?:one|two)\n$/, 'rows of one of them only')
  const uploads = await names(path.join(backup, 'my.db/ltx/0'))
  for (const i of uploads.keys()) {
    const { file: then } = await restored(t, url, { txid: BigInt(i + 1) })
    t.match(await sql(then, 'select group_concat(distinct who) from t'), /^(?:one|two)?\n$/, `TXID ${i + 1}`)
  }
  t.match(one.output() + two.output(), /my\.db .* does not lead on from its backup|node [0-9A-F]{16} writes there, too/)
})

t.test('a damaged, a foreign and a lost file', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const mount = await startMount(t, {
    configExtra: backupConfig(backup, { levels: [{ interval: '1s' }], 'l0-retention': '0s' }),
  })
  const file = path.join(mount.dir, 'my.db')
  await sql(file, 'create table t(a)')
  await backedUp(mount, 'my.db')
  const l0 = path.join(backup, 'my.db/ltx/0')
  await writeFile(path.join(l0, 'README'), 'not ours')
  await writeFile(path.join(l0, '0000000000000009-0000000000000009.ltx.tmp'), 'an upload that broke off')
  // Not every one is damaged in time: the next level may have it by then.
  const damaged = await eventually('a damaged file that is found', WAIT_MS, async () => {
    await sql(file, 'insert into t values (1)')
    await backedUp(mount, 'my.db')
    const newest = (await names(l0)).findLast((name) => /^[0-9a-f]{16}-[0-9a-f]{16}\.ltx$/.test(name))
    if (newest === undefined) return undefined
    const bytes = await readFile(path.join(l0, newest))
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
    await writeFile(path.join(l0, newest), bytes)
    await delay(FOUND_MS)
    return mount.output().includes(`${newest} is damaged, a full copy takes its place`) ? newest : undefined
  })
  await eventually(
    'a snapshot',
    WAIT_MS,
    async () => (await names(path.join(backup, 'my.db/ltx/9'))).length > 0 || undefined,
  )
  await sql(file, 'insert into t values (2)')
  await backedUp(mount, 'my.db')
  t.match(await sql(await sameAsLitestream(t, url, 'over a damaged file'), 'select a from t'), /1\n2\n$/)
  await rm(path.join(l0, damaged))
  t.equal(await mount.stop(), 0)
})

t.test('replicas are told how far the backup is (LiteFS reads it as the high-water mark)', async (t) => {
  const mount = await startMount(t, { configExtra: backupConfig(path.join(t.testdir(), 'backup')) })
  const file = path.join(mount.dir, 'my.db')
  await sql(file, 'create table t(a); insert into t values (1)')
  await backedUp(mount, 'my.db')
  const session = http2.connect(mount.url)
  t.teardown(() => session.destroy())
  const headers = { ':method': 'POST', ':path': '/stream', 'litefs-id': 'AB' }
  const stream = session.request(headers, { endStream: false }).end(encodePositionMap(new Map()))
  const decoder = new FrameDecoder()
  const marks: bigint[] = []
  const reading = (async () => {
    for await (const chunk of stream) {
      for (const item of decoder.push(chunk)) if (item.type === 'highWater') marks.push(item.txid)
    }
  })()
  reading.catch(() => {})
  const marked = async (txid: bigint) =>
    await eventually(`the mark ${txid}, after ${marks}`, WAIT_MS, async () => marks.at(-1) === txid || undefined)
  await marked(2n)
  await sql(file, 'insert into t values (2)')
  await backedUp(mount, 'my.db')
  await marked(3n)
})
