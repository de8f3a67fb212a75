// A primary and two replicas under random work in every journal mode, each killed, stopped and started again at random: no reader ever sees
// half a transaction, and when it is over all three agree. LITEFS_TEST_SECONDS=180 makes it long.
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freePort } from '../servers/ports.js'
import { agree } from './agreement.js'
import { type BankClient, createBank, startBankClient } from './bank.js'
import { type Mount, startMount } from './harness.js'
import { positionOf } from './judges.js'
import { applierOf, eventually, inSync, same, startReplica } from './replicas.js'
import { durationOf, seededRandom } from './rounds.js'

t.setTimeout(60 * 60_000)

const DURATION_MS = durationOf(5_000)
const LONGEST_ROUND_MS = 2000
const NAMES = ['wal.db', 'delete.db', 'truncate.db', 'persist.db', 'mixed.db']

const random = seededRandom(t)

/** A node and the process that works on it. */
interface Station {
  readonly role: 'write' | 'read'
  mount: Mount
  client: BankClient
}

t.test('random work on nodes that are killed at random', async (t) => {
  const port = await freePort()
  const start = (role: Station['role'], places: { dataDir?: string; mountDir?: string } = {}) =>
    role === 'write'
      ? startMount(t, { ...places, configExtra: { http: { addr: `127.0.0.1:${port}` } } })
      : startReplica(t, `http://127.0.0.1:${port}`, places)
  const work = (role: Station['role'], { dir }: Mount) =>
    startBankClient(
      t,
      role,
      random(2 ** 32),
      NAMES.map((name) => path.join(dir, name)),
    )

  const primary = await start('write')
  for (const name of NAMES) await createBank(path.join(primary.dir, name))
  const stations: Station[] = [{ role: 'write', mount: primary, client: await work('write', primary) }]
  for (let n = 0; n < 2; n++) {
    const replica = await start('read')
    for (const name of NAMES) await positionAt(replica, name)
    stations.push({ role: 'read', mount: replica, client: await work('read', replica) })
  }

  const counts = { write: 0, read: 0 }
  const endClient = async ({ role, client }: Station, mayBeLost: boolean) => {
    const { count = 0, problems = [], lost } = (await client.end()) ?? {}
    counts[role] += count
    t.strictSame(problems, [], `${role}: nothing wrong in ${count} transactions`)
    if (!mayBeLost) t.equal(lost, undefined, `${role}: the mount was there`)
  }

  const endMs = Date.now() + DURATION_MS
  for (let round = 1; Date.now() < endMs; round++) {
    await delay(random(LONGEST_ROUND_MS))
    const station = stations[random(stations.length)]
    if (station === undefined) continue
    const { mount, role } = station
    if (role === 'read' && random(4) === 0) {
      await killApplier(mount)
      continue
    }
    const kill = random(5) > 0
    if (!kill) await endClient(station, false)
    await (kill ? mount.kill('SIGKILL') : mount.stop())
    if (kill) await endClient(station, true)
    await delay(random(3) === 0 ? random(1500) : 0)
    station.mount = await start(role, { dataDir: mount.dataDir, mountDir: mount.dir })
    t.notMatch(station.mount.output(), /set aside|rebuilt/, `round ${round}: ${role}: recovered`)
    station.client = await work(role, station.mount)
  }
  await judge(t, stations, endClient)
  t.comment(`${counts.write} writes, ${counts.read} reads`)
})

/** Waits until the replica has something of the database. */
async function positionAt({ dir }: Mount, name: string): Promise<void> {
  await eventually(`${name} on the replica`, 20_000, () => positionOf(dir, name).catch(() => undefined))
}

async function killApplier(mount: Mount): Promise<void> {
  const pid = await applierOf(mount).catch(() => undefined)
  if (pid !== undefined) process.kill(pid, 'SIGKILL')
}

/** The writer ends, the replicas catch up under their readers, and all are compared. */
async function judge(
  t: Test,
  [first, ...others]: readonly Station[],
  endClient: (station: Station, mayBeLost: boolean) => Promise<void>,
): Promise<void> {
  if (first === undefined) throw new Error('there is no primary')
  await endClient(first, false)
  for (const station of others) {
    const pair = { primary: first.mount, replica: station.mount }
    for (const name of NAMES) await inSync(t, pair, name)
    await endClient(station, false)
    for (const name of NAMES) {
      await same(t, pair, name)
      if (station === others[0]) await agree(t, station.mount, name)
    }
  }
}
