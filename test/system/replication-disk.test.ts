// A replica whose disk is full: it says so, serves what it has, and goes on by itself when there is space again.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { agree } from './agreement.js'
import { createBank, startBankClient } from './bank.js'
import { run, startMount } from './harness.js'
import { integrityCheck, positionOf, sqlite } from './judges.js'
import { eventually, inSync, linesSince, same, startReplica } from './replicas.js'
import { smallDisk } from './small-disk.js'

const FULL_MS = 3000
/** Room for the log's two segments of 8 MiB and for what a writer does in some seconds. */
const DISK_SIZE = '128m'

for (const mode of ['wal', 'delete']) {
  t.test(`a replica without space, ${mode}`, async (t) => {
    const name = `${mode}.db`
    const disk = await smallDisk(t, DISK_SIZE)
    const dataDir = path.join(disk, 'data')
    await mkdir(dataDir)
    const primary = await startMount(t)
    await createBank(path.join(primary.dir, name))
    const replica = await startReplica(t, primary.url, { dataDir })
    const file = path.join(replica.dir, name)
    await inSync(t, { primary, replica }, name)
    const reader = await startBankClient(t, 'read', 1, [file])
    const ready = async () => {
      const answer = await fetch(`${replica.url}/health/ready`)
      return { status: answer.status, ...((await answer.json()) as { ready: boolean; reason?: string }) }
    }
    await eventually('the first sync', 10_000, async () => (await ready()).status === 200 || undefined)

    await run('sh', ['-c', `dd if=/dev/zero of=${disk}/filler bs=256k 2>/dev/null`])
    const writer = await startBankClient(t, 'write', 2, [path.join(primary.dir, name)])
    await sqlite(
      path.join(primary.dir, name),
      'CREATE TABLE big AS SELECT randomblob(1000000) AS b; CREATE TABLE i(a);',
    )
    const full = await eventually('why it is not ready', 20_000, async () => {
      const answer = await ready()
      return answer.status === 503 ? answer : undefined
    })
    t.equal(full.ready, false)
    t.match(full.reason, /ENOSPC|no space|disk is full/)
    const logged = replica.output().length
    t.strictSame((await writer.end())?.problems, [])
    await delay(FULL_MS)
    const lines = replica.output().slice(logged).split('\n')
    t.ok(
      lines.length < 20,
      `the log is not flooded: ${lines.length} lines in ${FULL_MS} ms:\n${lines.slice(0, 30).join('\n')}`,
    )
    t.match(linesSince(replica, 0, 'cannot follow').join('\n'), /ENOSPC|no space|disk is full/)
    const behind = await positionOf(replica.dir, name)
    t.not(behind.txid, (await positionOf(primary.dir, name)).txid)
    t.equal(await integrityCheck(file), 'ok')
    t.notMatch(replica.output(), 'object Object')

    await rm(path.join(disk, 'filler'))
    await same(t, { primary, replica }, name)
    t.strictSame((await reader.end())?.problems, [])
    await eventually('ready again', 10_000, async () => (await ready()).status === 200 || undefined)
    await agree(t, replica, name)
  })
}

t.test('a log that finds no space in the middle of a transaction', async (t) => {
  const disk = await smallDisk(t, DISK_SIZE)
  const dataDir = path.join(disk, 'data')
  await mkdir(dataDir)
  const primary = await startMount(t)
  const file = path.join(primary.dir, 'a.db')
  await sqlite(file, 'PRAGMA journal_mode=wal; CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 1)')
  const replica = await startReplica(t, primary.url, { dataDir })
  await same(t, { primary, replica }, 'a.db')
  await sqlite(file, 'INSERT INTO t VALUES(2, 2)')
  await same(t, { primary, replica }, 'a.db')
  // Its LTX file takes some hundred kilobytes, its frames 90 MB.
  await run('sh', ['-c', `dd if=/dev/zero of=${disk}/filler bs=1M count=60 2>/dev/null`])
  await sqlite(file, 'INSERT INTO t VALUES(3, zeroblob(90000000))')
  await eventually('a full disk', 20_000, async () =>
    /cannot follow the primary.*(?:ENOSPC|no space|disk is full)/.test(replica.output()) ? true : undefined,
  )
  const copy = path.join(replica.dir, 'a.db')
  t.equal(await sqlite(copy, 'SELECT max(a) FROM t'), '2\n', 'nothing is seen of it')
  t.equal(await integrityCheck(copy), 'ok')
  await rm(path.join(disk, 'filler'))
  await run('mount', ['-o', 'remount,size=512m', disk])
  await same(t, { primary, replica }, 'a.db')
  await agree(t, replica, 'a.db')
})

t.test('a first copy that finds no space', async (t) => {
  const disk = await smallDisk(t, DISK_SIZE)
  const dataDir = path.join(disk, 'data')
  await mkdir(dataDir)
  const primary = await startMount(t)
  await sqlite(path.join(primary.dir, 'a.db'), 'CREATE TABLE big AS SELECT randomblob(40000000) AS b;')
  // Room for the file that is received, and not for the database.
  await run('sh', ['-c', `dd if=/dev/zero of=${disk}/filler bs=1M count=50 2>/dev/null`])
  const replica = await startReplica(t, primary.url, { dataDir })
  await eventually('that there is no space', 20_000, async () => {
    return linesSince(replica, 0, 'cannot follow').some((line) => line.includes('ENOSPC')) || undefined
  })
  const file = path.join(replica.dir, 'a.db')
  t.equal(await sqlite(file, 'SELECT count(*) FROM sqlite_schema'), '0\n', 'it is as empty as before')
  await rm(path.join(disk, 'filler'))
  await same(t, { primary, replica }, 'a.db')
})
