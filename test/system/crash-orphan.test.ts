// An application that ends, or fails, between its commit frame and its update of the wal-index leaves an orphan: frames that the next
// writer overwrites, or that the next opener's recovery finds. At synchronous=FULL the sync of the WAL lies exactly there.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, startMount } from './harness.js'
import { ltxDirOf, positionOf, sqlite } from './judges.js'
import { inSync, startReplica } from './replicas.js'
import { isLong } from './rounds.js'
import { Shell, tracedShell } from './shell.js'

t.setTimeout(10 * 60_000)

/** In short form only some of a transaction's writes are tried. */
const STRIDE = isLong ? 1 : 6
/** Longer than the daemon takes to find a transaction final (see src/store/settler.ts). */
const SETTLED_MS = 60
const ORPHAN = "PRAGMA synchronous=full; INSERT INTO t(v) SELECT 'orphan' FROM words;\n"
const KILLED_AT_SYNC = 'fdatasync:signal=SIGKILL:when=1'
const COUNT_ORPHANS = "SELECT count(*) FROM t WHERE v='orphan'"

interface Scene {
  readonly mount: Mount
  readonly name: string
  readonly file: string
  /** A connection that has the wal-index open. */
  readonly survivor: Shell
}

/** A WAL database with some frames in its WAL, so that the orphan's are not its first. */
async function scene(t: Test, earlier = "INSERT INTO t(v) VALUES('earlier');"): Promise<Scene> {
  const mount = await startMount(t)
  const name = 'a.db'
  const file = `${mount.dir}/${name}`
  const words =
    'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) INSERT INTO words SELECT hex(i) FROM n'
  await sqlite(
    file,
    `PRAGMA page_size=1024; PRAGMA journal_mode=wal; CREATE TABLE words(w); CREATE TABLE t(v); ${words};`,
  )
  const survivor = new Shell(file)
  t.teardown(() => survivor.kill())
  await survivor.execute(`PRAGMA synchronous=full; PRAGMA cache_size=4; SELECT * FROM t; ${earlier}`)
  return { mount, name, file, survivor }
}

/** Kills a writer between its commit frame and the wal-index, and checks that nobody is told of its transaction. */
async function leaveOrphan(t: Test, { mount, name, file, survivor }: Scene): Promise<{ txid: string }> {
  const before = await positionOf(mount.dir, name)
  const { killed, stderr } = await tracedShell(file, ORPHAN, KILLED_AT_SYNC)
  t.match({ killed, stderr }, { killed: true, stderr: '' }, 'killed in place of its sync')
  t.same(await positionOf(mount.dir, name), before, 'the orphan is in no position')
  await delay(SETTLED_MS)
  t.same(await positionOf(mount.dir, name), before, 'nor later')
  t.equal(await survivor.execute(COUNT_ORPHANS), '0\n', 'and SQLite does not see it')
  return before
}

async function expectNext(t: Test, { mount, name }: Scene, before: { txid: string }, steps = 1n): Promise<void> {
  const expected = (BigInt(`0x${before.txid}`) + steps).toString(16).padStart(16, '0')
  t.equal((await positionOf(mount.dir, name)).txid, expected, 'the TXID of the orphan is used again')
  await agree(t, mount, name)
}

t.test('the next writer overwrites the orphan', async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  await at.survivor.execute("INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before)
  t.equal(await sqlite(at.file, COUNT_ORPHANS), '0\n')
})

t.test('the next writer overwrites an orphan that began its WAL', async (t) => {
  const at = await scene(t, 'PRAGMA wal_checkpoint(RESTART);')
  const before = await leaveOrphan(t, at)
  await at.survivor.execute("INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before)
})

t.test('who needs a snapshot gets what was before the orphan, and then what follows', async (t) => {
  const at = await scene(t)
  await agree(t, at.mount, at.name)
  await leaveOrphan(t, at)
  await rm(path.join(ltxDirOf(at.mount.dataDir, at.name), `${'1'.padStart(16, '0')}-${'1'.padStart(16, '0')}.ltx`))
  const replica = await startReplica(t, at.mount.url)
  await inSync(t, { primary: at.mount, replica }, at.name)
  t.equal(await sqlite(path.join(replica.dir, at.name), COUNT_ORPHANS), '0\n')
  await at.survivor.execute("INSERT INTO t(v) VALUES('next'); PRAGMA wal_checkpoint")
  await inSync(t, { primary: at.mount, replica }, at.name)
  t.equal(
    await sqlite(path.join(replica.dir, at.name), "SELECT v FROM t WHERE v<>'earlier'; PRAGMA integrity_check"),
    'next\nok\n',
  )
})

t.test('many orphans in a row', async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  for (let n = 0; n < 5; n++) await leaveOrphan(t, at)
  await at.survivor.execute("INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before)
})

t.test('with nobody else there, the recovery of the next opener makes the orphan visible', async (t) => {
  const at = await scene(t)
  const before = await positionOf(at.mount.dir, at.name)
  const { killed } = await tracedShell(at.file, ORPHAN, KILLED_AT_SYNC)
  t.ok(killed)
  await at.survivor.kill()
  t.equal(await sqlite(at.file, COUNT_ORPHANS), '200\n')
  await expectNext(t, at, before)
  await sqlite(at.file, "INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before, 2n)
})

t.test('a sync that fails, and the same connection goes on in the same place', async (t) => {
  for (const next of ["INSERT INTO t(v) VALUES('a')", "INSERT INTO t(v) SELECT 'orphan' FROM words", 'DELETE FROM t']) {
    const at = await scene(t)
    const before = await positionOf(at.mount.dir, at.name)
    const { stdout, stderr } = await tracedShell(
      at.file,
      `${ORPHAN}${next};\nSELECT 'went on';`,
      'fdatasync:error=EIO:when=1',
    )
    t.match({ stdout, stderr }, { stdout: 'went on', stderr: /disk I\/O error/ }, 'the commit fails, the next does not')
    await expectNext(t, at, before)
  }
})

t.test('a commit that takes long is in the position once it is visible', async (t) => {
  const at = await scene(t)
  const before = await positionOf(at.mount.dir, at.name)
  const slow = tracedShell(at.file, ORPHAN, 'fdatasync:delay_enter=1000000:when=1')
  const deadline = Date.now() + 1500
  while (Date.now() < deadline) {
    const { txid } = await positionOf(at.mount.dir, at.name)
    const visible = await at.survivor.execute(COUNT_ORPHANS)
    t.ok(txid === before.txid || visible === '200\n', 'no position before its content')
    await delay(20)
  }
  await slow
  await expectNext(t, at, before)
})

for (const mode of isLong ? ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] : ['PASSIVE', 'TRUNCATE']) {
  t.test(`the survivor's checkpoint, ${mode}, loses the orphan`, async (t) => {
    const at = await scene(t)
    const before = await leaveOrphan(t, at)
    await at.survivor.execute(`PRAGMA wal_checkpoint(${mode});`)
    t.same(await positionOf(at.mount.dir, at.name), before)
    await at.survivor.execute("INSERT INTO t(v) VALUES('next');")
    await expectNext(t, at, before)
  })
}

t.test('the survivor closes and removes the WAL, and with it the orphan', async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  await at.survivor.close()
  await expectNext(t, at, before, 0n)
  await sqlite(at.file, "INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before)
})

t.test('the last connection takes its time between removing the wal-index and the WAL', async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  const last = tracedShell(at.file, 'SELECT count(*) FROM t;\n.shell sleep 1\n', 'unlink:delay_enter=1500000:when=2')
  await delay(500)
  await at.survivor.close()
  const { stderr } = await last
  t.equal(stderr, '')
  await expectNext(t, at, before, 0n)
})

t.test('the daemon is killed over the orphan', async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  await at.mount.kill('SIGKILL')
  await at.survivor.kill()
  const again = await startMount(t, { dataDir: at.mount.dataDir, mountDir: at.mount.dir })
  await expectNext(t, { ...at, mount: again }, before)
  t.equal(await sqlite(at.file, COUNT_ORPHANS), '200\n', 'without a wal-index the frames count')
  await sqlite(at.file, "INSERT INTO t(v) VALUES('next');")
  await expectNext(t, { ...at, mount: again }, before, 2n)
})

const SPILLED =
  'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400) INSERT INTO t(v) SELECT randomblob(200) FROM n;'

t.test("the survivor's next transaction spills over the orphan and is rolled back", async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  await at.survivor.execute(`BEGIN; ${SPILLED} ROLLBACK;`)
  t.same(await positionOf(at.mount.dir, at.name), before)
  await agree(t, at.mount, at.name)
  await at.survivor.execute("INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before)
})

t.test("the survivor's next transaction spills over the orphan and is killed", async (t) => {
  const at = await scene(t)
  const before = await leaveOrphan(t, at)
  await at.survivor.execute(`BEGIN; ${SPILLED}`)
  await at.survivor.kill()
  await sqlite(at.file, "INSERT INTO t(v) VALUES('next');")
  await expectNext(t, at, before)
})

t.test('the orphan is written again, and its writer is killed at each write', async (t) => {
  for (let write = 1; write < 60; write += STRIDE) {
    const at = await scene(t)
    const before = await leaveOrphan(t, at)
    const { killed } = await tracedShell(at.file, ORPHAN, `pwrite64:signal=SIGKILL:when=${write}`)
    await at.survivor.kill()
    const visible = (await sqlite(at.file, COUNT_ORPHANS)) === '200\n'
    await expectNext(t, at, before, visible ? 1n : 0n)
    await at.mount.stop()
    await rm(at.mount.dataDir, { recursive: true })
    if (!killed) return
  }
  t.fail('the writer never lived to its end')
})
