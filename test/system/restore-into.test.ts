// A mistake in a running cluster, undone with `litefs restore -into`, and that undone again. FAULTS_ALL=1: with the daemon killed in place of
// each system call that it makes meanwhile, and while it begins with its backup.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { backedUp, backupConfig, FAST, names, restored, sql, WAIT_MS } from './backups.js'
import { FailingCalls, KILLS } from './failing-calls.js'
import { litefsScript, type Mount, run, startMount } from './harness.js'
import { contentHash, positionOf } from './judges.js'
import { eventually, inSync, startReplica } from './replicas.js'

const ALL = process.env['FAULTS_ALL'] !== undefined
/** When no call came for so long, there are none to come. */
const QUIET_MS = 100
/** Nothing is removed: what is restored stays. */
const UPLOADS_ONLY = { levels: [], 'l0-retention': '0s' }
const ANEW = /all of it is uploaded|writes there, too/

t.setTimeout(ALL ? 3_600_000 : 120_000)

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

/** Waits until no more calls come. */
async function quiet(faults: FailingCalls): Promise<void> {
  for (let seen = -1; seen !== faults.seen; ) {
    seen = faults.seen
    await delay(QUIET_MS)
  }
}

if (ALL) t.test('killed while a database is restored into it', (t) => killedInto(t))

async function killedInto(t: Test): Promise<void> {
  const backup = path.join(t.testdir({}), 'backup')
  const dataDir = path.join(t.testdirName, 'data')
  const url = `file://${backup}/my.db`
  const faults = await FailingCalls.build(t, dataDir)
  const options = { configExtra: backupConfig(backup, UPLOADS_ONLY), dataDir, env: faults.env }
  let mount = await startMount(t, options)
  const mountDir = mount.dir
  const file = path.join(mountDir, 'my.db')
  await sql(file, 'pragma journal_mode = wal; create table t(a); insert into t values (hex(randomblob(50000)))')
  await backedUp(mount, 'my.db')
  const good = await contentHash(file)
  const { txid } = await restored(t, url)
  const restoreInto = async () => {
    const words = ['restore', '-into', mount.url, '-txid', txid.toString(16), url]
    return await run(process.execPath, [litefsScript, ...words])
  }
  const mistake = async () => {
    await sql(file, 'delete from t; insert into t values (hex(randomblob(9000)))')
    await backedUp(mount, 'my.db')
    return await contentHash(file)
  }

  let before = await mistake()
  await quiet(faults)
  faults.arm()
  t.match(await restoreInto(), { code: 0 })
  await quiet(faults)
  const count = faults.seen
  faults.disarm()
  t.equal(await contentHash(file), good)
  for (const at of Array.from({ length: count }, (_, i) => i + 1)) {
    before = await mistake()
    await quiet(faults)
    faults.arm({ at, allAfter: false, errno: KILLS, torn: at % 2 === 0 })
    const { code, stderr } = await restoreInto()
    await quiet(faults)
    faults.disarm()
    const when = `call ${at} of ${count}, ${faults.what.replace(`${dataDir}/`, '')}`
    if (faults.failed === 0) await mount.kill('SIGKILL')
    await mount.ended()
    mount = await startMount(t, { ...options, mountDir })
    const hash = await contentHash(file)
    t.ok(hash === good || (hash === before && code !== 0), `${when}: all of it, or nothing: ${stderr}`)
    await backedUp(mount, 'my.db')
    t.equal(await contentHash((await restored(t, url)).file), hash, `${when}: the backup goes on`)
    t.equal(await contentHash((await restored(t, url, { txid })).file), good, `${when}: and has what it had`)
    t.notMatch(mount.output(), ANEW, when)
    t.notMatch(mount.output(), /level=ERROR|set aside/, when)
  }
  await agree(t, mount, 'my.db')
  t.equal(await mount.stop(), 0)
}

if (ALL) t.test('killed while it begins with its backup', (t) => killedRestore(t))

async function killedRestore(t: Test): Promise<void> {
  const backup = path.join(t.testdir({}), 'backup')
  const dataDir = path.join(t.testdirName, 'data')
  const faults = await FailingCalls.build(t, dataDir)
  const first = await startMount(t, { configExtra: backupConfig(backup, UPLOADS_ONLY) })
  const wanted = new Map<string, string>()
  for (const name of ['a.db', 'b.db']) {
    await sql(path.join(first.dir, name), 'create table t(a); insert into t values (hex(randomblob(50000)))')
    await backedUp(first, name)
    const { txid, checksum } = await positionOf(first.dir, name)
    wanted.set(name, `${txid}/${checksum} ${await contentHash(path.join(first.dir, name))}`)
  }
  t.equal(await first.stop(), 0)
  const uploads = await Promise.all([...wanted.keys()].map((name) => names(path.join(backup, name, 'ltx/0'))))

  const configExtra = backupConfig(backup, { ...UPLOADS_ONLY, 'restore-if-db-not-exists': true })
  const start = () => startMount(t, { configExtra, dataDir, mountDir: first.dir, env: faults.env })
  const isComplete = async (mount: Mount) => {
    for (const [name, all] of wanted) {
      await eventually(`${name}: ${mount.output()}`, WAIT_MS, async () => {
        const at = await positionOf(mount.dir, name).catch(() => undefined)
        return at && all.startsWith(`${at.txid}/${at.checksum} `) ? true : undefined
      })
    }
  }
  faults.arm()
  let mount = await start()
  await isComplete(mount)
  await quiet(faults)
  const count = faults.seen
  faults.disarm()
  t.equal(await mount.stop(), 0)
  for (let at = 1; at <= count; at++) {
    await rm(dataDir, { recursive: true, force: true })
    faults.arm({ at, allAfter: false, errno: KILLS, torn: at % 2 === 0 })
    await start().then(
      async (mount) => {
        for (let tries = 0; faults.failed === 0 && tries < 20; tries++) await quiet(faults)
        await mount.kill('SIGKILL')
      },
      (error: Error) => t.match(error.message, 'SIGKILL'),
    )
    faults.disarm()
    const when = `call ${at} of ${count}, ${faults.what.replace(`${dataDir}/`, '')}`
    mount = await start()
    await isComplete(mount)
    for (const [name, all] of wanted) {
      const { txid, checksum } = await positionOf(mount.dir, name)
      t.equal(`${txid}/${checksum} ${await contentHash(path.join(mount.dir, name))}`, all, `${when}: ${name}`)
      await backedUp(mount, name)
    }
    t.equal(await mount.stop(), 0, when)
    t.notMatch(mount.output(), /level=ERROR|set aside|all of it is uploaded/, when)
    const now = await Promise.all([...wanted.keys()].map((name) => names(path.join(backup, name, 'ltx/0'))))
    t.strictSame(now, uploads, `${when}: nothing is uploaded`)
  }
}
