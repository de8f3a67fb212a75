// How long nobody can write while the primary moves, with etcd and with Consul, against what is promised of it. Only on a quiet machine this says
// something: it runs with LITEFS_TEST_ROUNDS=5, each round a handover and a primary that is killed.
import t, { type Test } from 'tap'
import { needsMounting } from '../needs-mounting.js'
import {
  agreeing,
  type Cluster,
  createLog,
  LOCK_DELAY_MS,
  more,
  type Place,
  SLACK_MS,
  startCluster,
  startWriter,
  TTL_MS,
} from './clusters.js'
import { eventually } from './replicas.js'
import { isLong, roundsOf } from './rounds.js'

/** From the last commit on the old primary to the first on the new one, milliseconds. */
const HANDOVER_GOAL_MS = 500
/**
 * To the next commit after SIGKILL. Consul takes a session's TTL for the least it may last, and ends it only when twice that is over.
 */
const GOALS_MS = { etcd: TTL_MS + SLACK_MS, consul: 2 * TTL_MS + LOCK_DELAY_MS + SLACK_MS }

needsMounting()

function othersOf({ places }: Cluster, one: Place): Place[] {
  return places.filter((place) => place !== one)
}

async function handover(t: Test, cluster: Cluster): Promise<number> {
  const first = await cluster.primary()
  const [second] = othersOf(cluster, first)
  if (second === undefined) throw new Error('three nodes')
  const writer = await startWriter(t, `handover${performance.now()}`, cluster.places)
  await more(writer, 50)
  t.equal((await second.post('/promote')).status, 200)
  await more(writer, 50)
  await writer.stop()
  t.strictSame(writer.failures, [])
  const { acknowledged } = writer
  const at = acknowledged.findIndex(({ node }) => node === second.hostname)
  return (acknowledged[at]?.doneMs ?? 0) - (acknowledged[at - 1]?.doneMs ?? 0)
}

async function failover(t: Test, cluster: Cluster): Promise<number> {
  const first = await cluster.primary()
  const others = othersOf(cluster, first)
  const writer = await startWriter(t, `failover${performance.now()}`, others)
  const killedMs = Date.now()
  await first.mount.kill('SIGKILL')
  await eventually('a commit', 60_000, async () => writer.acknowledged[0])
  await writer.stop()
  await first.start()
  await agreeing(t, await cluster.primary(others), [first])
  return (writer.acknowledged[0]?.doneMs ?? 0) - killedMs
}

for (const kind of ['etcd', 'consul'] as const) {
  t.test(kind, { skip: isLong ? false : 'LITEFS_TEST_ROUNDS=5 measures', timeout: 3_600_000 }, async (t) => {
    const cluster = await startCluster(t, 3, TTL_MS, kind)
    const first = await cluster.primary()
    await createLog(first)
    await agreeing(t, first, othersOf(cluster, first))
    for (let round = 0; round < roundsOf(1); round++) {
      const handoverMs = await handover(t, cluster)
      const failoverMs = await failover(t, cluster)
      t.comment(`${kind}: ${handoverMs} ms for a handover, ${failoverMs} ms after SIGKILL`)
      t.ok(handoverMs < HANDOVER_GOAL_MS, `a handover in ${handoverMs} ms`)
      t.ok(failoverMs <= GOALS_MS[kind], `the next commit ${failoverMs} ms after SIGKILL, of ${GOALS_MS[kind]}`)
    }
  })
}
