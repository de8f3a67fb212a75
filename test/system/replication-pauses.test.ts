// One side is stopped for a while (SIGSTOP), which no connection tells: the other goes on, at its pace and within its memory.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Mount, run, startMount } from './harness.js'
import { integrityCheck, sqlite } from './judges.js'
import { applierOf, eventually, inSync, linesSince, type Pair, same, startReplica } from './replicas.js'
import { ACCOUNTS, seeded, startWriter } from './timed-writer.js'

const BEFORE_MS = 1500
const PAUSE_MS = 4000
const OLD_MS = 2000
/** Three heartbeats, and what it takes to say so on a busy machine. */
const NOTICED_MS = 3000 + 1500
/** What a primary may take more under a replica that does not read: recent transactions (64 MiB), the log's (32 MiB), garbage. */
const MAX_GROWTH_MB = 200
const SLOWEST_MS = 2000

async function startPair(t: Test): Promise<Pair> {
  const primary = await startMount(t)
  await seeded(path.join(primary.dir, 'bank.db'), 'wal')
  const replica = await startReplica(t, primary.url)
  await inSync(t, { primary, replica }, 'bank.db')
  return { primary, replica }
}

/** Stops processes until the returned function is called. */
function stopped(t: Test, pids: readonly number[]): () => void {
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  let running = false
  const goOn = () => {
    if (!running) for (const pid of pids) process.kill(pid, 'SIGCONT')
    running = true
  }
  t.teardown(goOn)
  return goOn
}

async function processesOf(mount: Mount): Promise<number[]> {
  const { stdout } = await run('pgrep', ['-g', String(mount.pid)])
  return stdout.trim().split('\n').map(Number)
}

async function residentMb({ pid }: Mount): Promise<number> {
  const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) / 1024
}

for (const who of ['replica', 'applier'] as const) {
  t.test(`a stopped ${who} costs the primary nothing`, async (t) => {
    const pair = await startPair(t)
    const { primary, replica } = pair
    const { commits, stop } = startWriter(t, path.join(primary.dir, 'bank.db'), 'wal')
    await eventually('the first commit', 10_000, async () => commits[0])
    const countBefore = commits.length
    await delay(BEFORE_MS)
    const usual = (commits.length - countBefore) / BEFORE_MS
    const memoryBefore = await residentMb(primary)

    const pids = who === 'replica' ? await processesOf(replica) : [await applierOf(replica)]
    const first = commits.length
    const goOn = stopped(t, pids)
    let memory = 0
    for (const endMs = Date.now() + PAUSE_MS; Date.now() < endMs; await delay(100)) {
      memory = Math.max(memory, await residentMb(primary))
    }
    const during = commits.slice(first)
    goOn()
    const pace = during.length / PAUSE_MS
    t.comment(`${usual * 1000}/s before, ${pace * 1000}/s meanwhile; ${memoryBefore} MB before, ${memory} MB at most`)
    t.ok(pace > usual / 2, 'as many commits as before')
    t.ok(Math.max(...during) < SLOWEST_MS, `slowest: ${Math.max(...during)} ms`)
    t.ok(memory - memoryBefore < MAX_GROWTH_MB, `${memory - memoryBefore} MB more`)
    await delay(500)
    await stop()
    await same(t, pair, 'bank.db')
    t.notMatch(primary.output(), /level=ERROR/)
    t.notMatch(replica.output(), /level=ERROR/)
    if (who === 'applier')
      t.strictSame(linesSince(replica, 0, 'cannot follow'), [], 'the primary was there all the time')
  })
}

t.test('a stopped primary: its replica serves what it has, and says how old that is', async (t) => {
  const pair = await startPair(t)
  const { primary, replica } = pair
  const lag = async () => Number(await readFile(path.join(replica.dir, '.lag'), 'utf8'))
  const file = path.join(replica.dir, 'bank.db')
  await eventually('the first sync', 10_000, async () => (await lag()) < 10_000 || undefined)
  const goOn = stopped(t, await processesOf(primary))
  const logged = replica.output().length
  await eventually('the silence in the log', NOTICED_MS, async () => linesSince(replica, logged, 'cannot follow')[0])
  const before = await lag()
  await delay(OLD_MS)
  t.ok((await lag()) - before > OLD_MS / 2, `${before} ms behind, then ${await lag()} ms`)
  t.equal(await sqlite(file, 'SELECT sum(balance) FROM account'), `${100 * ACCOUNTS}\n`)
  t.equal(await integrityCheck(file), 'ok')
  t.ok(
    linesSince(replica, logged, 'cannot follow').length <= 3,
    linesSince(replica, logged, 'cannot follow').join('\n'),
  )
  goOn()
  await sqlite(path.join(primary.dir, 'bank.db'), 'UPDATE account SET balance = 101 WHERE id = 1;')
  await same(t, pair, 'bank.db')
  await eventually(
    'the end in the log',
    10_000,
    async () => linesSince(replica, logged, 'following the primary again')[0],
  )
  t.ok((await lag()) < before, 'up to date again')
})
