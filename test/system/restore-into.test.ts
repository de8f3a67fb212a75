// A mistake in a running cluster, undone with `litefs restore -into`, and that undone again.
import path from 'node:path'
import t from 'tap'
import { backedUp, FAST, sql } from './backups.js'
import { litefsScript, run, startMount } from './harness.js'
import { contentHash } from './judges.js'
import { inSync, startReplica } from './replicas.js'

t.test('a mistake is undone for all nodes, and so is its undoing', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const url = `file://${backup}/my.db`
  const configExtra = { backup: { ...FAST, url: `file://${backup}`, levels: [], 'l0-retention': '0s' } }
  const primary = await startMount(t, { configExtra })
  const replica = await startReplica(t, primary.url)
  const pair = { primary, replica }
  const [file, copy] = [path.join(primary.dir, 'my.db'), path.join(replica.dir, 'my.db')]
  const litefs = (...args: string[]) => run(process.execPath, [litefsScript, ...args])

  await sql(file, 'pragma journal_mode = wal; create table t(a); insert into t values (1), (2), (3)')
  await backedUp(primary, 'my.db')
  const good = await contentHash(file)
  const time = new Date().toISOString()
  await sql(file, 'delete from t; insert into t values (9)')
  const mistake = await contentHash(file)

  const refused = await litefs('restore', '-into', replica.url, '-timestamp', time, url)
  t.match(refused, { code: 1, stderr: /Cannot import my\.db: .* is a replica/ })
  t.equal(await contentHash(file), mistake)
  t.match(await litefs('restore', '-into', primary.url, '-dry-run', url), { code: 0, stdout: /\d files?,/ })
  t.match(await litefs('restore', '-into', primary.url, '-o', 'x', url), { code: 1, stderr: /both -o and -into/ })

  const restore = await litefs('restore', '-into', primary.url, '-timestamp', time, '-integrity-check', 'full', url)
  t.equal(restore.code, 0, restore.stderr)
  t.equal(await contentHash(file), good, 'as it was')
  await inSync(t, pair, 'my.db')
  t.equal(await contentHash(copy), good, 'the replica follows')

  const [, undo = ''] = /-timestamp (\S+)/.exec(restore.stdout) ?? []
  await backedUp(primary, 'my.db')
  const args = ['-into', primary.url, '-name', 'my.db', '-timestamp', undo, '-json', url]
  const undone = await litefs('restore', ...args)
  t.match(JSON.parse(undone.stdout), { name: 'my.db', undo: { isExact: true } }, undone.stderr)
  t.equal(await contentHash(file), mistake, 'the point just before')
  await inSync(t, pair, 'my.db')
  t.equal(await contentHash(copy), mistake)

  await backedUp(primary, 'my.db')
  t.match((await litefs('status', '-url', primary.url)).stdout, /BACKUP\n.*my\.db .* current\n/)
  t.equal(await primary.stop(), 0)
})
