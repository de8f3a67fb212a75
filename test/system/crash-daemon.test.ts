// The daemon is killed at any moment under two writers: after the next start on the same data directory every acknowledged transaction is
// there, none is half there, and the LTX files lead to the same content.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { litefsScript, type Mount, run, startMount } from './harness.js'
import { positionOf, sqlite } from './judges.js'
import {
  AUDIT_SQL,
  auditLedger,
  type Claim,
  createLedger,
  entrySql,
  fileOf,
  LEDGER_KINDS,
  type Ledger,
  Writer,
} from './ledger.js'
import { roundsOf, seededRandom } from './rounds.js'
import { Shell } from './shell.js'

t.setTimeout(60 * 60_000)

const ROUNDS = roundsOf(3)
const ROUNDS_BETWEEN_AGREEMENTS = 3
const LONGEST_ROUND_MS = 300
/** A start takes about so long; a kill within it meets any step of the recovery. */
const START_MS = 250
const STOP_MS = 30
const CACHE_PAGES = 8
const POLL_MS = 2
const KILL_TIMEOUT_MS = 5000

const random = seededRandom(t)

/** What ends the daemon: a kill at work, a kill while it starts, a kill while it stops, a stop. */
const ENDS = ['kill', 'kill', 'kill', 'kill in start', 'kill in stop', 'stop'] as const

t.test('killed at random moments under two writers', async (t) => {
  const first = await startMount(t, { configExtra: { data: { retention: '24h' } } })
  const ledgers: Ledger[] = []
  for (const kind of LEDGER_KINDS) ledgers.push(await createLedger(first.dir, kind))
  let mount = first
  for (let round = 1; round <= ROUNDS; round++) {
    const end = ENDS[random(ENDS.length)] ?? 'kill'
    const when = `round ${round}, ${end}`
    const writers = [0, 1].map((n) => new Writer(`writer ${round}.${n}`, random(2 ** 32), ledgers, CACHE_PAGES))
    for (const writer of writers) await writer.ready()
    const seen = await watchPositions(ledgers, LONGEST_ROUND_MS, () => endDaemon(t, mount, end))
    for (const writer of writers) await writer.kill()
    if (end === 'kill in start') await killInStart(first)
    mount = await startMount(t, {
      dataDir: first.dataDir,
      mountDir: first.dir,
      configExtra: { data: { retention: '24h' } },
    })
    t.notMatch(mount.output(), 'set aside', `no database is set aside, ${when}`)
    t.notMatch(mount.output(), 'rebuilt', `no database is rebuilt, ${when}`)
    await Promise.all(
      ledgers.map((ledger, index) => {
        const claims = writers.map((writer) => writer.claim(index))
        return judge(t, mount, ledger, claims, seen[index] ?? '', when)
      }),
    )
    if (round % ROUNDS_BETWEEN_AGREEMENTS === 0 || round === ROUNDS) {
      for (const { kind } of ledgers) await agreeAndVerify(t, mount, kind.name, when)
    }
  }
})

for (const kind of LEDGER_KINDS) {
  t.test(`${kind.name}: an application that outlives the daemon cannot write into the next mount`, async (t) => {
    const first = await startMount(t)
    const ledger = await createLedger(first.dir, kind)
    const file = fileOf(ledger)
    const stale = new Shell(file)
    t.teardown(() => stale.kill())
    await stale.execute('SELECT sum(balance) FROM account; SELECT count(*) FROM done, batch')
    await killDaemon(t, first)
    const mount = await startMount(t, { dataDir: first.dataDir, mountDir: first.dir })
    const newEntry = `PRAGMA journal_mode=${kind.journalMode};${entrySql('new', 300)}`
    await sqlite(file, newEntry)
    await t.rejects(stale.execute('UPDATE account SET balance=balance+1'), /error/, 'the old connection fails')
    const claim = { writer: 'new', acknowledged: 1 }
    await auditLedger(t, ledger, await sqlite(file, AUDIT_SQL), [claim], 'beside an old connection')
    await agree(t, mount, kind.name)
  })
}

async function judge(
  t: Test,
  mount: Mount,
  ledger: Ledger,
  claims: Claim[],
  seen: string,
  when: string,
): Promise<void> {
  const { name } = ledger.kind
  const { txid } = await positionOf(mount.dir, name)
  t.ok(txid >= seen, `${name}: ${txid} is not before ${seen}, which a reader saw, ${when}`)
  await auditLedger(t, ledger, await sqlite(fileOf(ledger), AUDIT_SQL), claims, when)
}

async function agreeAndVerify(t: Test, mount: Mount, name: string, when: string): Promise<void> {
  await agree(t, mount, name)
  const ltxDir = path.join(mount.dataDir, 'dbs', name, 'ltx')
  const { code, stderr } = await run(process.execPath, [litefsScript, 'ltx', 'verify', ltxDir])
  t.match({ code, stderr }, { code: 0, stderr: '' }, `${name}: the LTX files verify, ${when}`)
}

/** Reads all positions until `end` has ended the daemon, which it does at a random moment; gives the newest TXID of each. */
async function watchPositions(
  ledgers: readonly Ledger[],
  longestMs: number,
  end: () => Promise<void>,
): Promise<string[]> {
  const newest = ledgers.map(() => '')
  let ended = false
  const watching = async () => {
    while (!ended) {
      for (const [index, { dir, kind }] of ledgers.entries()) {
        const position = await positionOf(dir, kind.name).catch(() => undefined)
        if (position !== undefined && position.txid > (newest[index] ?? '')) newest[index] = position.txid
      }
      await delay(POLL_MS)
    }
  }
  const watched = watching()
  await delay(random(longestMs))
  await end()
  ended = true
  await watched
  return newest
}

async function endDaemon(t: Test, mount: Mount, end: (typeof ENDS)[number]): Promise<void> {
  if (end === 'stop') {
    await mount.stop()
  } else if (end === 'kill in stop') {
    process.kill(mount.pid, 'SIGTERM')
    await delay(random(STOP_MS))
    await killDaemon(t, mount)
  } else {
    await killDaemon(t, mount)
  }
}

/** A daemon that waits in a request of its own cannot be killed, nor can its clients, until somebody aborts the connection. */
async function killDaemon(t: Test, mount: Mount): Promise<void> {
  const ended = mount.kill('SIGKILL').then(() => true)
  if (await Promise.race([ended, delay(KILL_TIMEOUT_MS, false)])) return
  t.fail('a killed daemon ends')
  await run('umount', ['-f', '-l', mount.dir])
  await ended
}

/** Starts the daemon again and kills it before it is done, several times. */
async function killInStart({ dir }: Mount): Promise<void> {
  for (let kills = 1 + random(3); kills > 0; kills--) {
    const config = path.join(path.dirname(dir), 'litefs.yml')
    const child = spawn(process.execPath, [litefsScript, 'mount', '-config', config], { stdio: 'ignore' })
    const exited = once(child, 'exit')
    await delay(START_MS / 3 + random(START_MS))
    child.kill('SIGKILL')
    await exited
  }
}
