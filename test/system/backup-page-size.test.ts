// A backup across a change of the page size, which Litestream only restores from a full copy on.
import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { backedUp, backupConfig, names, restored, sameAsLitestream, sql, WAIT_MS } from './backups.js'
import { startMount } from './harness.js'
import { eventually } from './replicas.js'

t.test('pages of another size', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const mount = await startMount(t, { configExtra: backupConfig(backup, { 'l0-retention': '0s' }) })
  const file = path.join(mount.dir, 'my.db')
  await sql(file, 'create table t(a); insert into t values (1)')
  await backedUp(mount, 'my.db')
  await sql(file, 'pragma page_size = 8192; vacuum')
  await backedUp(mount, 'my.db')
  await sql(file, 'insert into t values (2)')
  await backedUp(mount, 'my.db')
  await eventually(
    'a snapshot',
    WAIT_MS,
    async () => (await names(path.join(backup, 'my.db/ltx/9'))).length > 0 || undefined,
  )
  t.equal(await mount.stop(), 0)
  const latest = await sameAsLitestream(t, url, 'latest')
  t.equal(await sql(latest, 'pragma page_size; select group_concat(a) from t'), '8192\n1,2\n')
  const { file: first } = await restored(t, url, { txid: 1n })
  t.equal(await sql(first, 'pragma page_size'), '4096\n')
})

t.test('a full copy that a killed node owed after another page size is made by the next start', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const configExtra = backupConfig(backup, { levels: [], 'l0-retention': '0s' })
  const killed = await startMount(t, { configExtra })
  await sql(path.join(killed.dir, 'my.db'), 'create table t(a); insert into t values (1)')
  await backedUp(killed, 'my.db')
  // In place of the directory of full copies: the upload succeeds, the copy does not.
  await writeFile(path.join(backup, 'my.db/ltx/9'), '')
  await sql(path.join(killed.dir, 'my.db'), 'pragma page_size = 8192; vacuum')
  await backedUp(killed, 'my.db')
  await killed.waitForLine('my.db/ltx/9')
  await killed.kill('SIGKILL')
  await t.rejects(sameAsLitestream(t, url, 'between the two'), 'Litestream does not merge pages of two sizes')

  await rm(path.join(backup, 'my.db/ltx/9'))
  const next = await startMount(t, { configExtra, dataDir: killed.dataDir, mountDir: killed.dir })
  await eventually(
    'a full copy without any change',
    WAIT_MS,
    async () => (await names(path.join(backup, 'my.db/ltx/9'))).some((name) => name.endsWith('.ltx')) || undefined,
  )
  const latest = await sameAsLitestream(t, url, 'latest')
  t.equal(await sql(latest, 'pragma page_size; select a from t'), '8192\n1\n')
  t.equal(await next.stop(), 0)
  const again = await startMount(t, { configExtra, dataDir: killed.dataDir, mountDir: killed.dir })
  await backedUp(again, 'my.db')
  t.equal(await again.stop(), 0)
  t.equal((await names(path.join(backup, 'my.db/ltx/9'))).length, 1, 'and only once')
})
