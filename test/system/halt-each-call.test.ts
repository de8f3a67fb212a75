// A replica that commits under the halt lock, and whose system calls fail one after the other, or kill it: the commit is on both nodes or on none, and
// the primary's writers go on soon. In short form some of the calls; FAULTS_ALL=1 tries every one.
import { constants } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { FailingCalls, type Fault, KILLS } from './failing-calls.js'
import { startLocker } from './halt-nodes.js'
import { type Mount, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { inSync, same, startReplica } from './replicas.js'

const ALL = process.env['FAULTS_ALL'] !== undefined
const { ENOSPC, EIO } = constants.errno
/** Which of the calls of one commit, as parts of all, in short form. */
const SHORT: readonly [part: number, errno: number][] = [
  [0.3, ENOSPC],
  [0.7, KILLS],
]
const NAME = 'a.db'
const OPTIONS = { configExtra: { data: { retention: '24h' } } }
/** Less than the 30 s that a halt lock lasts: a writer's busy timeout in the sqlite3 shell of the judges is 10 s. */
const SOON_MS = 10_000

t.setTimeout(ALL ? 7_200_000 : 120_000)

function faultsOf(calls: number): Fault[] {
  const fault = (at: number, errno: number) => ({ at, errno, allAfter: errno === ENOSPC, torn: at % 2 === 0 })
  if (!ALL) return SHORT.map(([part, errno]) => fault(Math.max(1, Math.round(part * calls)), errno))
  const every = Array.from({ length: calls }, (_, i) => i + 1)
  return every.flatMap((at) => [ENOSPC, EIO, KILLS].map((errno) => fault(at, errno)))
}

class Forwarding {
  readonly #t: Test
  readonly #primary: Mount
  readonly #faults: FailingCalls
  readonly #start: () => Promise<Mount>
  #replica: Mount
  #count = 0

  constructor(t: Test, primary: Mount, replica: Mount, faults: FailingCalls, start: () => Promise<Mount>) {
    this.#t = t
    this.#primary = primary
    this.#replica = replica
    this.#faults = faults
    this.#start = start
  }

  /** Commits a row on the replica, with this fault; gives how many calls there were. */
  async commit(fault: Fault | undefined): Promise<number> {
    const what = fault === undefined ? 'no fault' : `call ${fault.at}, errno ${fault.errno}`
    const locker = await startLocker(this.#t, path.join(this.#replica.dir, NAME))
    this.#t.equal(locker.answer, 'locked', what)
    this.#faults.arm(fault)
    const input = `PRAGMA synchronous=FULL; INSERT INTO t VALUES(${++this.#count}, randomblob(3000));`
    const file = path.join(this.#replica.dir, NAME)
    const { code } = await run('sqlite3', ['-bail', '-cmd', '.timeout 5000', file], { input })
    const { seen } = this.#faults
    this.#faults.disarm()
    if (fault?.errno === KILLS) await this.#dies(what)
    else await locker.unlock()
    await locker.kill()
    await this.#comeTogether(code === 0, `${what}: ${this.#faults.what}`)
    return seen
  }

  /** The replica is killed, at the latest now; the primary's writers need not wait for the lock to expire. */
  async #dies(what: string): Promise<void> {
    if (this.#faults.failed === 0) await this.#replica.kill('SIGKILL')
    await this.#replica.ended()
    const fromMs = performance.now()
    await sqlite(path.join(this.#primary.dir, NAME), 'UPDATE other SET a = a + 1')
    const tookMs = Math.round(performance.now() - fromMs)
    this.#t.ok(tookMs < SOON_MS, `${what}: the primary is written ${tookMs} ms after`)
    this.#replica = await this.#start()
  }

  async #comeTogether(isAcknowledged: boolean, what: string): Promise<void> {
    const pair = { primary: this.#primary, replica: this.#replica }
    await sqlite(path.join(this.#primary.dir, NAME), 'UPDATE other SET a = a + 1')
    await same(this.#t, pair, NAME)
    const rows = await sqlite(path.join(this.#replica.dir, NAME), `SELECT count(*) FROM t WHERE n = ${this.#count}`)
    const isThere = rows === '1\n'
    this.#t.ok(isThere || !isAcknowledged, `acknowledged: ${isAcknowledged}, there: ${isThere}, ${what}`)
    await agree(this.#t, this.#replica, NAME)
    this.#t.notMatch(this.#replica.output(), /superseded|set aside/, what)
  }
}

for (const mode of ALL ? ['wal', 'delete'] : ['wal']) {
  t.test(`a commit under the halt lock, ${mode}`, async (t) => {
    const primary = await startMount(t, OPTIONS)
    const sql = 'CREATE TABLE t(n INTEGER PRIMARY KEY, b); CREATE TABLE other(a); INSERT INTO other VALUES(0);'
    await sqlite(path.join(primary.dir, NAME), `PRAGMA journal_mode=${mode}; ${sql}`)
    const dataDir = path.join(t.testdir({}), 'data')
    const faults = await FailingCalls.build(t, dataDir)
    const options = { ...OPTIONS, dataDir, env: faults.env }
    const replica = await startReplica(t, primary.url, options)
    await inSync(t, { primary, replica }, NAME)
    const start = () => startReplica(t, primary.url, { ...options, mountDir: replica.dir })
    const forwarding = new Forwarding(t, primary, replica, faults, start)
    await forwarding.commit(undefined)
    const calls = await forwarding.commit(undefined)
    t.ok(calls > 1, `${calls} calls`)
    for (const fault of faultsOf(calls)) {
      await forwarding.commit(fault)
      await forwarding.commit(undefined)
    }
    t.notMatch(primary.output(), /level=ERROR/)
  })
}
