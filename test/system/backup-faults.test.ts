// A backup to a real S3 server that is missing, refuses, breaks connections or loses answers: told once, and gone on by itself.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { DEFAULT_ACCESS } from '../../src/backup/open-storage.js'
import { litestreamRestore } from '../backup/oracle.js'
import { startFaultyProxy } from '../servers/faulty-proxy.js'
import { ACCESS_KEY, SECRET_KEY, startRadosgw } from '../servers/radosgw.js'
import { backedUp, FAST, metric, restored, sql, WAIT_MS } from './backups.js'
import { type Mount, startMount } from './harness.js'
import { contentHash } from './judges.js'
import { eventually } from './replicas.js'

const SLOW_DOWN = 'HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: 47\r\n\r\n'
const SLOW_DOWN_BODY = '<Error><Code>SlowDown</Code></Error>           '

async function readiness({ url }: Mount): Promise<{ status: number; body: { ready: boolean; reason?: string } }> {
  const answer = await fetch(`${url}/health/ready`)
  return { status: answer.status, body: (await answer.json()) as { ready: boolean; reason?: string } }
}

t.test('S3 through storms', async (t) => {
  const s3 = await startRadosgw(t)
  const proxy = await startFaultyProxy(t, s3.port)
  const access = { ...DEFAULT_ACCESS, accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY }
  const backup = {
    ...FAST,
    'max-lag': '200ms',
    url: 's3://tests/some/path',
    endpoint: `http://127.0.0.1:${proxy.port}`,
    'access-key-id': ACCESS_KEY,
    'secret-access-key': SECRET_KEY,
  }
  const mount = await startMount(t, { configExtra: { backup } })
  const file = path.join(mount.dir, 'my.db')
  await sql(file, 'pragma journal_mode = wal; create table t(a integer primary key, b)')
  await mount.waitForLine('NoSuchBucket')
  t.match(
    mount.output(),
    /backup of my\.db fails and is tried again and again: Cannot list s3:\/\/tests\/.*create the bucket tests/,
  )
  t.ok((await metric(mount, 'litefs_backup_lag_seconds', 'my.db')) > 0)
  const late = await eventually('a node that is not ready', WAIT_MS, async () => {
    const { status, body } = await readiness(mount)
    return status === 503 ? body : undefined
  })
  t.match(
    late.reason,
    /^the backup of my\.db is \d+\.\d s behind, more than backup\.max-lag \(0\.2 s\): Cannot list s3:/,
  )
  t.match(late.reason, 'create the bucket tests')
  await s3.createBucket('tests')
  await mount.waitForLine('backup of my.db goes on after')
  await backedUp(mount, 'my.db')
  t.same(await readiness(mount), { status: 200, body: { ready: true } })

  for (const fault of [{ answer: SLOW_DOWN + SLOW_DOWN_BODY }, 'cut', 'answer-lost'] as const) {
    const before = mount.output().length
    const errors = await metric(mount, 'litefs_backup_errors_total', 'my.db')
    proxy.fault = fault
    await sql(file, 'insert into t(b) values (hex(randomblob(30000)))')
    while (!((await metric(mount, 'litefs_backup_errors_total', 'my.db')) > errors)) {
      await sql(file, 'insert into t(b) values (hex(randomblob(3000)))')
    }
    proxy.fault = 'none'
    await backedUp(mount, 'my.db')
    const lines = mount.output().slice(before).split('\n')
    t.ok(
      lines.filter((line) => line.includes('level=ERROR')).length <= 4,
      `told, but not again and again: ${lines.join('\n')}`,
    )
    t.equal(await metric(mount, 'litefs_backup_lag_seconds', 'my.db'), 0)
  }
  t.notMatch(mount.output(), /all of it is uploaded|writes there, too/, 'an answer that was lost is no other writer')
  const wanted = await contentHash(file)
  t.equal(await mount.stop(), 0)

  const url = `s3://tests/some/path/my.db?endpoint=${s3.endpoint}&region=us-east-1`
  const ours = await restored(t, url, {}, access)
  t.equal(await contentHash(ours.file), wanted)
  process.env['AWS_ACCESS_KEY_ID'] = ACCESS_KEY
  process.env['AWS_SECRET_ACCESS_KEY'] = SECRET_KEY
  await litestreamRestore(t, url, `${ours.file}.judge`)
  t.ok((await readFile(ours.file)).equals(await readFile(`${ours.file}.judge`)), 'the bytes that Litestream restores')
})
