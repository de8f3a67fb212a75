// Kills the daemon in place of each system call that changes its disk, within every operation that does: nothing acknowledged is missing and nothing
// is there in part, whatever the step was. In short form some of the calls; FAULTS_ALL=1 tries every one, and each write in its middle too.
import { cp, mkdir, rm } from 'node:fs/promises'
import { constants } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { FailingCalls, KILLS } from './failing-calls.js'
import { type Mount, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { startReplica } from './replicas.js'
import { rewriteUnderSuperlock } from './superlock.js'

const { EIO } = constants.errno
const ALL = process.env['FAULTS_ALL'] !== undefined
const SHORT_CALLS = 1
/** LTX files are written in the background: when no call came for so long, there are none to come. */
const QUIET_MS = 100
/** Bytes of a transaction that is received into a file. */
const LARGE = 5_000_000
const OPTIONS = { configExtra: { data: { retention: '24h' } } }

t.setTimeout(ALL ? 7_200_000 : 300_000)

interface Operation {
  /** Of the database `a.db`, whose table `t` has rows `n` from 1 on. */
  readonly mode: string
  /** Inserts row `n`; gives the exit code. What it leaves beside is the same however often it is done. */
  readonly act: (file: string, n: number) => Promise<{ code: number | null }>
  /** A query of `t` that gives 1 when what else the operation changes was changed whole. */
  readonly whole?: string
}

const insert = (n: number, size = 2000) => `INSERT INTO t VALUES(${n}, randomblob(${size}));`
const inMode = (mode: string, sql: (n: number) => string): Operation => ({
  mode,
  act: (file, n) => {
    const input = `PRAGMA synchronous=FULL; ${sql(n)}`
    return run('sqlite3', ['-bail', '-cmd', '.timeout 5000', file], { input })
  },
})
const superlocked = (inWal: boolean): Operation => ({
  mode: 'wal',
  act: (file, number) => rewriteUnderSuperlock(file, { number, inWal }),
  whole: 'SELECT max(n) IN (generation, generation - 1) FROM t, g',
})
const OPERATIONS: Record<string, Operation> = {
  'a commit in WAL mode': inMode('wal', (n) => insert(n)),
  'a commit in DELETE mode': inMode('delete', (n) => insert(n)),
  'a commit in TRUNCATE mode': inMode('truncate', (n) => insert(n)),
  'a commit in PERSIST mode': inMode('persist', (n) => insert(n)),
  'a commit that is too large for the log': inMode('wal', (n) => insert(n, 3_000_000)),
  'a large commit in DELETE mode': inMode('delete', (n) => insert(n, 3_000_000)),
  'a checkpoint': inMode('wal', (n) => `${insert(n, 200_000)} PRAGMA wal_checkpoint(TRUNCATE);`),
  VACUUM: inMode('delete', (n) => `${insert(n, 200_000)} VACUUM;`),
  'changes of the journal mode': inMode(
    'wal',
    (n) => `${insert(n)} PRAGMA journal_mode=delete; PRAGMA journal_mode=wal;`,
  ),
  'a rewrite under a superlock': superlocked(true),
  'a rewrite under a superlock that empties the WAL': superlocked(false),
}
/** One of each kind; the others only in the long form. */
const SHORT = ['a commit in DELETE mode', 'a commit that is too large for the log']

/** Some numbers from 1 to `count`, or all. */
function someOf(count: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i + 1)
  const step = count / SHORT_CALLS
  return ALL ? all : Array.from({ length: SHORT_CALLS }, (_, i) => 1 + Math.floor(step * (i + 0.6)))
}

async function quiet(faults: FailingCalls): Promise<void> {
  for (let seen = -1; seen !== faults.seen; ) {
    seen = faults.seen
    await delay(QUIET_MS)
  }
}

/** How many calls it takes, with what comes in the background. */
async function callsOf(faults: FailingCalls, act: () => Promise<unknown>): Promise<number> {
  faults.arm()
  await act()
  await quiet(faults)
  const { seen } = faults
  faults.disarm()
  return seen
}

/** The daemon dies in place of a call, if there are as many this time. */
async function dies(faults: FailingCalls, mount: Mount, at: number, act: () => Promise<unknown>): Promise<string> {
  faults.arm({ at, allAfter: false, errno: KILLS, torn: ALL && at % 2 === 0 })
  await act()
  await quiet(faults)
  faults.disarm()
  if (faults.failed === 0) await mount.kill('SIGKILL')
  await mount.ended()
  return `call ${at}: ${faults.what}`
}

for (const [what, { mode, act, whole }] of Object.entries(OPERATIONS)) {
  if (!ALL && !SHORT.includes(what)) continue
  t.test(`killed within ${what}`, async (t) => {
    const dataDir = path.join(t.testdir({}), 'data')
    const faults = await FailingCalls.build(t, dataDir)
    const first = await startMount(t, { ...OPTIONS, dataDir, env: faults.env })
    const mountDir = first.dir
    const file = path.join(mountDir, 'a.db')
    await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, b);`)
    let mount = first
    let acknowledged = 0
    const commit = async () => {
      const { code } = await act(file, acknowledged + 1)
      if (code === 0) acknowledged++
      return code
    }
    t.equal(await commit(), 0)
    await quiet(faults)
    const calls = await callsOf(faults, commit)
    t.ok(calls > 2, `${calls} calls`)
    for (const at of someOf(calls)) {
      const when = await dies(faults, mount, at, commit)
      mount = await startMount(t, { ...OPTIONS, dataDir, mountDir, env: faults.env })
      const rows = Number((await sqlite(file, 'SELECT count(*) FROM t WHERE n <= (SELECT max(n) FROM t)')).trim())
      t.ok(rows === acknowledged || rows === acknowledged + 1, `${rows} of ${acknowledged} rows, ${when}`)
      if (whole !== undefined) t.equal((await sqlite(file, whole)).trim(), '1', `no part of it, ${when}`)
      t.notMatch(mount.output(), /set aside/, when)
      await agree(t, mount, 'a.db')
      acknowledged = rows
    }
    t.equal(await mount.stop(), 0)
  })
}

t.test('killed within recovery, again and again', async (t) => {
  for (const mode of ALL ? ['wal', 'delete', 'persist'] : ['wal']) {
    const base = t.testdir({})
    const [dataDir, crashed] = [path.join(base, 'data'), path.join(base, 'crashed')]
    const faults = await FailingCalls.build(t, dataDir)
    const first = await startMount(t, { ...OPTIONS, dataDir, env: faults.env })
    const mountDir = first.dir
    const file = path.join(mountDir, 'a.db')
    await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, b); ${insert(1)}`)
    const commit = () => run('sqlite3', [file], { input: `PRAGMA synchronous=FULL; ${insert(2)}` })
    await dies(faults, first, 3, commit)
    await cp(dataDir, crashed, { recursive: true })
    const start = () => startMount(t, { ...OPTIONS, dataDir, mountDir, env: faults.env })
    faults.arm()
    const whole = await start()
    await quiet(faults)
    const calls = faults.seen
    faults.disarm()
    t.equal(await whole.stop(), 0)
    const found = new Set<string>()
    for (const at of someOf(calls)) {
      await rm(dataDir, { recursive: true })
      await mkdir(dataDir)
      await cp(crashed, dataDir, { recursive: true })
      faults.arm({ at, allAfter: false, errno: KILLS, torn: ALL && at % 2 === 0 })
      await start().then(
        async (mount) => {
          await quiet(faults)
          if (faults.failed === 0) await mount.kill('SIGKILL')
        },
        (error: Error) => t.match(error.message, 'SIGKILL'),
      )
      faults.disarm()
      const mount = await start()
      found.add((await sqlite(file, 'SELECT count(*) FROM t')).trim())
      t.notMatch(mount.output(), /set aside/, `${mode}, call ${at}: ${faults.what}`)
      await agree(t, mount, 'a.db')
      await mount.kill('SIGKILL')
    }
    t.equal(found.size, 1, `${mode}: recovery comes to the same end`)
  }
})

for (const mode of ALL ? ['wal', 'delete', 'persist'] : ['wal']) {
  t.test(`a replica that is killed within a transaction, and within what it fetches when it starts, ${mode}`, (t) =>
    killedReplica(t, mode),
  )
}

async function killedReplica(t: Test, mode: string): Promise<void> {
  const primary = await startMount(t, OPTIONS)
  const source = path.join(primary.dir, 'a.db')
  await sqlite(source, `PRAGMA journal_mode=${mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, b); ${insert(0, LARGE)}`)
  const dataDir = path.join(t.testdir({}), 'data')
  const faults = await FailingCalls.build(t, dataDir)
  let replica = await startReplica(t, primary.url, { ...OPTIONS, dataDir, env: faults.env })
  const mountDir = replica.dir
  const start = () => startReplica(t, primary.url, { ...OPTIONS, dataDir, mountDir, env: faults.env })
  let n = 0
  const write = async () => {
    await sqlite(source, `PRAGMA synchronous=FULL; ${insert(++n)}`)
  }
  const follows = async () => {
    const rows = 'SELECT count(*) FROM t'
    const wanted = await sqlite(source, rows)
    for (;;) {
      const { code, stdout } = await run('sqlite3', ['-cmd', '.timeout 5000', path.join(mountDir, 'a.db')], {
        input: rows,
      })
      if (code === 0 && stdout === wanted) return
      await delay(20)
    }
  }
  await follows()
  await write()
  await quiet(faults)
  const calls = await callsOf(faults, write)
  t.ok(calls > 1, `${calls} calls for a transaction`)
  for (const at of someOf(calls)) {
    const when = await dies(faults, replica, at, write)
    replica = await start()
    await follows()
    t.notMatch(replica.output(), /set aside|superseded/, when)
    await agree(t, replica, 'a.db')
  }
  t.equal(await replica.stop(), 0)

  /** Starts on what `prepare` leaves, and is killed within what it fetches then. */
  const killedWhileItFetches = async (what: string, prepare: () => Promise<void>) => {
    await prepare()
    faults.arm()
    replica = await start()
    await follows()
    await quiet(faults)
    const { seen } = faults
    faults.disarm()
    t.equal(await replica.stop(), 0)
    const tried = someOf(seen).flatMap((at) => (ALL ? [KILLS, EIO] : [KILLS]).map((errno) => ({ at, errno })))
    for (const { at, errno } of tried) {
      await prepare()
      faults.arm({ at, allAfter: false, errno, torn: ALL && at % 2 === 0 })
      await start().then(
        async (mount) => {
          for (let tries = 0; faults.failed === 0 && tries < 50; tries++) await quiet(faults)
          await quiet(faults)
          await mount.kill('SIGKILL')
        },
        (error: Error) => t.match(error.message, errno === KILLS ? 'SIGKILL' : /EIO|code 1/),
      )
      faults.disarm()
      replica = await start()
      await follows()
      t.notMatch(replica.output(), /set aside/, `${what}, call ${at}: ${faults.what}`)
      await agree(t, replica, 'a.db')
      t.equal(await replica.stop(), 0)
    }
  }
  const behind = path.join(path.dirname(dataDir), 'behind')
  await cp(dataDir, behind, { recursive: true })
  await sqlite(source, `UPDATE t SET b = randomblob(${LARGE}) WHERE n = 0; DELETE FROM t WHERE n = 1;`)
  await killedWhileItFetches('what it missed', async () => {
    await rm(dataDir, { recursive: true, force: true })
    await cp(behind, dataDir, { recursive: true })
  })
  await killedWhileItFetches('a snapshot', () => rm(dataDir, { recursive: true, force: true }))
}
