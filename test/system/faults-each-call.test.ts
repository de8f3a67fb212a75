// Has each system call that the daemon makes for a commit fail in turn. In short form some of them; FAULTS_ALL=1 tries every one.
import { constants } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { FailingCalls, type Fault } from './failing-calls.js'
import { type Mount, startMount } from './harness.js'
import { positionOf } from './judges.js'
import { Shell } from './shell.js'

const ALL = process.env['FAULTS_ALL'] !== undefined
/** Calls that are tried of one kind of transaction. */
const SHORT_CALLS = 2
const MODES = ['wal', 'delete', 'truncate', 'persist'] as const
/** One that goes through the log, and one whose LTX file does not. */
const SIZES = ALL ? [3000, 1_500_000] : [3000]
/** LTX files are written in the background: when no call came for so long, there are none to come. */
const QUIET_MS = 60
/** What fails in the background is tried again and again. */
const RESTLESS_MS = 300
const { ENOSPC, EIO } = constants.errno

/** What may go wrong with call `at`. */
function faultsOf(at: number): Fault[] {
  const once: Fault = { at, allAfter: false, errno: EIO, torn: false }
  const full: Fault = { at, allAfter: true, errno: ENOSPC, torn: true }
  return ALL ? [once, full] : [at % 2 === 0 ? once : full]
}

t.setTimeout(ALL ? 3_600_000 : 300_000)

for (const mode of MODES) {
  t.test(`${mode}: a commit one of whose calls fails is one that never was`, async (t) => {
    const { mount, faults } = await faultyMount(t)
    const file = path.join(mount.dir, 'a.db')
    const shell = new Shell(file)
    await shell.execute(`PRAGMA journal_mode=${mode}; PRAGMA synchronous=FULL; CREATE TABLE t(n, b)`)
    await shell.execute('INSERT INTO t VALUES(0, zeroblob(0))')
    const run = new FaultyRun(t, mount, faults, shell, mode)
    for (const size of SIZES) await run.everyCall(size)
    await shell.close()
    await agree(t, mount, 'a.db')
    t.equal(await mount.stop(), 0, 'all is written down')
    const again = await startMount(t, { dataDir: mount.dataDir })
    const reader = new Shell(path.join(again.dir, 'a.db'))
    t.equal((await reader.execute('SELECT n FROM t')).trim(), String(run.committed), 'after a restart')
    await reader.close()
    await agree(t, again, 'a.db')
    t.notMatch(again.output(), /applies LTX|captures|kept in/, 'which found nothing to mend')
    t.equal(await again.stop(), 0)
  })
}

t.test('a daemon that is killed on a full disk comes back with what was committed', async (t) => {
  for (const mode of MODES) {
    const { mount, faults } = await faultyMount(t)
    const shell = new Shell(path.join(mount.dir, 'a.db'))
    await shell.execute(`PRAGMA journal_mode=${mode}; PRAGMA synchronous=FULL; CREATE TABLE t(n, b)`)
    await shell.execute('INSERT INTO t VALUES(0, zeroblob(0))')
    const run = new FaultyRun(t, mount, faults, shell, mode)
    const calls = await run.count(3000)
    const at = calls - Math.floor(calls / 3)
    await run.attempt(3000, { at, allAfter: true, errno: ENOSPC, torn: true }, false)
    // SQLite that hears of a failed sync forgets the frames it has written; its recovery after a crash does not, on any file system.
    // The log has the transaction, and here takes no word of its failure any more. A full disk cannot do that: the log's space is reserved.
    const unretracted = /ltxlog\/[01]$/.test(faults.what)
    const orphaned = mode === 'wal' || unretracted
    await mount.kill('SIGKILL')
    await shell.kill()
    const again = await startMount(t, { dataDir: mount.dataDir, mountDir: mount.dir })
    const reader = new Shell(path.join(again.dir, 'a.db'))
    const found = Number((await reader.execute('SELECT n FROM t')).trim())
    t.ok(
      found === run.committed || (orphaned && found === run.committed + 1),
      `${mode}: ${found} after the crash at ${faults.what}`,
    )
    await reader.close()
    await agree(t, again, 'a.db')
    t.equal(await again.stop(), 0)
  }
})

async function faultyMount(t: Test): Promise<{ mount: Mount; faults: FailingCalls }> {
  const dataDir = path.join(t.testdir({}), 'data')
  const faults = await FailingCalls.build(t, dataDir)
  // What it leaves is rebuilt from its beginning, and trying every call takes longer than LTX files are kept otherwise.
  const configExtra = { data: { retention: '24h' } }
  return { mount: await startMount(t, { dataDir, env: faults.env, configExtra }), faults }
}

/** Some numbers from 1 to `count`, or all. */
function someOf(count: number, wanted: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i + 1)
  return ALL ? all : all.filter((at) => Math.floor((at * wanted) / count) > Math.floor(((at - 1) * wanted) / count))
}

class FaultyRun {
  /** Transactions that the application was told of. */
  committed = 0
  readonly #t: Test
  readonly #mount: Mount
  readonly #faults: FailingCalls
  readonly #shell: Shell
  readonly #mode: string

  constructor(t: Test, mount: Mount, faults: FailingCalls, shell: Shell, mode: string) {
    this.#t = t
    this.#mount = mount
    this.#faults = faults
    this.#shell = shell
    this.#mode = mode
  }

  async everyCall(size: number): Promise<void> {
    const calls = await this.count(size)
    for (const at of someOf(calls, SHORT_CALLS)) {
      for (const fault of faultsOf(at)) await this.attempt(size, fault, true)
    }
  }

  /** How many calls a transaction takes, what comes in the background included. */
  async count(size: number): Promise<number> {
    // The first one may still create what the others find.
    await this.#commit(size)
    await this.#quiet()
    this.#faults.arm()
    await this.#commit(size)
    await this.#quiet()
    const { seen } = this.#faults
    this.#faults.disarm()
    this.#t.ok(seen > 2, `${this.#mode}, ${size} bytes: ${seen} calls`)
    return seen
  }

  /** One transaction with a fault, and one without, which must find everything in order. */
  async attempt(size: number, fault: Fault, repair: boolean): Promise<void> {
    const before = await positionOf(this.#mount.dir, 'a.db')
    const was = this.committed
    this.#faults.arm(fault)
    const problem = await this.#commit(size).then(
      () => undefined,
      (error: Error) => error.message,
    )
    await this.#quiet()
    const { failed, what } = this.#faults
    const title = `${this.#mode}, ${size} bytes, call ${fault.at}${fault.allAfter ? ' and all after it' : ''}: ${what}`
    if (!repair) return
    this.#faults.disarm()
    if (problem !== undefined) {
      this.#t.match(problem, /full|disk I\/O error|unable to open/, `${title}: SQLite says why`)
      await this.#shell.execute('ROLLBACK').catch(() => {})
    }
    this.#t.ok(failed > 0 || problem === undefined, `${title}: no error without a fault`)
    this.#t.equal((await this.#shell.execute('SELECT n FROM t')).trim(), String(this.committed), `${title}: content`)
    const after = await positionOf(this.#mount.dir, 'a.db')
    const spent = BigInt(`0x${after.txid}`) - BigInt(`0x${before.txid}`)
    this.#t.equal(spent, BigInt(this.committed - was), `${title}: a TXID for each transaction`)
    await this.#commit(size)
  }

  async #commit(size: number): Promise<void> {
    await this.#shell.execute(`UPDATE t SET n = n + 1, b = randomblob(${size})`)
    this.committed++
  }

  async #quiet(): Promise<void> {
    const end = Date.now() + (this.#faults.failed > 0 ? RESTLESS_MS : Number.POSITIVE_INFINITY)
    for (let seen = -1; seen !== this.#faults.seen && Date.now() < end; ) {
      seen = this.#faults.seen
      await delay(QUIET_MS)
    }
  }
}
