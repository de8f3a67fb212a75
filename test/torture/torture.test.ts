// A cluster under random faults, and a checker over the history of what it acknowledged. `npm run torture` has the long form; what was random is
// printed, as the command that repeats it.
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { agree } from '../system/agreement.js'
import { contentHash, positionOf } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import { durationOf, seededRandom } from '../system/rounds.js'
import { checkHistory } from './check-history.js'
import { type Cluster, DATABASES, logOf, type Node, STORES, startCluster } from './cluster.js'
import { type Heal, make } from './faults.js'
import type { Trouble } from './history.js'
import { FAULTS, type Fault, formatSchedule, parseSchedule, type Step, scheduleFaults } from './schedule.js'

const DURATION_MS = durationOf(10_000)
const NODES = Number(process.env['TORTURE_NODES'] ?? 3)
const STORE = STORES.find((store) => store === (process.env['TORTURE_STORE'] ?? 'etcd'))
/** Of each node, once all is healed. */
const HEALED_COMMITS = 20
const HEALED_MS = 60_000
const SEED_LIMIT = 1_000_000

needsMounting()
// What was written in an hour takes minutes to be read again, on each node and from its LTX files.
t.setTimeout(DURATION_MS + 800_000)

t.test('what was acknowledged is there, whatever happens', async (t) => {
  const random = seededRandom(t)
  const steps = schedule(random)
  t.comment(`TORTURE_SCHEDULE='${formatSchedule(steps)}'`)
  if (STORE === undefined) throw new Error(`Cannot start: TORTURE_STORE is none of ${STORES.join(', ')}`)
  const cluster = await startCluster(t, { count: NODES, seed: random(SEED_LIMIT), store: STORE })
  for (const { writer, reader, exports } of cluster.nodes) {
    writer.start()
    reader.start()
    exports.start()
  }
  const troubles = await happen(t, cluster, steps)
  const primary = await healed(t, cluster).catch((error: unknown) => {
    tell(t, cluster)
    throw error
  })
  t.strictSame(cluster.heard.problems, [], 'nothing that applications must never see')
  const differences = cluster.nodes.flatMap((node) => node.differences)
  t.strictSame(differences, [], 'every node has what it believes to have')
  const logs = new Map<string, Awaited<ReturnType<typeof logOf>>>()
  for (const database of DATABASES) logs.set(database, await logOf(path.join(primary.dir, database)))
  const setAside = (await Promise.all(cluster.nodes.map((node) => node.setAside()))).flat()
  const { violations, acknowledged, lost, unexpected } = checkHistory({
    nodes: cluster.nodes.map(({ name }) => name),
    attempts: cluster.heard.attempts,
    logs,
    setAside,
    troubles,
  })
  t.strictSame(violations, [], 'no violation')
  t.ok(acknowledged > 0)
  t.comment(
    `${steps.length} faults; ${acknowledged} transactions acknowledged, ${lost} of them lost with a primary and kept aside,` +
      ` ${unexpected} that had failed are there`,
  )
  for (const node of cluster.nodes) t.comment(`${node.name}: ${await node.residentMb()} MB`)
  if (!t.passing() || process.env['TORTURE_PRINT'] !== undefined) tell(t, cluster)
})

/** The applications come to an end, and all nodes to the same. Gives the primary. */
async function healed(t: Test, cluster: Cluster): Promise<Node> {
  await goesOn(cluster)
  for (const { writer, reader, exports } of cluster.nodes)
    await Promise.all([writer.end(), reader.end(), exports.end()])
  const primary = await primaryOf(cluster)
  await settle(t, cluster, primary)
  return primary
}

function tell(t: Test, { nodes, heard }: Cluster): void {
  for (const problem of heard.problems) t.comment(`problem: ${problem}`)
  for (const { name, printed } of nodes) t.comment(`${name} printed:\n${printed}`)
}

function schedule(random: (limit: number) => number): Step[] {
  const given = process.env['TORTURE_SCHEDULE']
  if (given !== undefined) return parseSchedule(given)
  const wanted = process.env['TORTURE_FAULTS']?.split(',')
  const faults = wanted === undefined ? FAULTS : FAULTS.filter((fault) => wanted.includes(fault))
  return scheduleFaults(random, { durationMs: DURATION_MS, nodes: NODES, faults })
}

/** These leave a node as good as it was. A node that ends as it should hands over, if there is anybody who follows it. */
const HARMLESS: readonly Fault[] = ['promote', 'kill-writer', 'clock']

/** Makes each fault at its time and heals it at its time; afterwards all are healed. Gives when nodes were in trouble. */
async function happen(t: Test, cluster: Cluster, steps: readonly Step[]): Promise<Trouble[]> {
  const beganMs = nowMs()
  t.comment(`began at ${new Date().toISOString()}, ${Math.round(beganMs)} ms`)
  const troubles: Trouble[] = []
  // By who suffers: what takes long to heal, as a start does on a busy machine, delays the next fault.
  const running = new Map<string, Promise<void>>()
  let failure: unknown
  for (const step of steps) {
    await delay(Math.max(0, beganMs + step.atMs - nowMs()))
    if (failure !== undefined) break
    const victim = step.fault.startsWith('store-') ? 'store' : String(step.node)
    const turn = (running.get(victim) ?? Promise.resolve()).then(() => suffer(cluster, step, troubles))
    running.set(
      victim,
      turn.catch((error: unknown) => {
        failure ??= new Error(`Cannot go through ${formatSchedule([step])}`, { cause: error })
      }),
    )
  }
  await Promise.all(running.values())
  if (failure === undefined) return troubles
  tell(t, cluster)
  throw failure
}

async function suffer(cluster: Cluster, step: Step, troubles: Trouble[]): Promise<void> {
  const fromMs = nowMs()
  const heal: Heal = await make(cluster, step)
  await delay(step.forMs)
  await heal()
  if (HARMLESS.includes(step.fault)) return
  // A node without its lease store, or whose peers stand still, cannot tell either whether it is followed.
  const toMs = nowMs() + cluster.store.longestLeaseMs
  for (const { name } of cluster.nodes) {
    if (step.fault.startsWith('store-') || cluster.nodes[step.node]?.name === name)
      troubles.push({ node: name, fromMs, toMs })
  }
}

/** Somebody is the primary again, and commits. */
async function goesOn({ heard, nodes }: Cluster): Promise<void> {
  const before = heard.attempts.length
  await eventually('commits after all is healed', HEALED_MS, async () => {
    const recent = heard.attempts.slice(before)
    return recent.filter(({ acknowledged }) => acknowledged).length >= HEALED_COMMITS * nodes.length ? true : undefined
  })
}

async function primaryOf({ nodes }: Cluster): Promise<Node> {
  return await eventually('a primary', HEALED_MS, async () => {
    for (const node of nodes) {
      const { code } = await node.litefs('run', '-if-candidate', '-promote', '--', 'true')
      if (code === 0) return node
    }
    return undefined
  })
}

/** All nodes come to the same, and it is whole. */
async function settle(t: Test, { nodes }: Cluster, primary: Node): Promise<void> {
  for (const database of DATABASES) {
    const wanted = await positionOf(primary.dir, database)
    const hash = await contentHash(path.join(primary.dir, database))
    for (const node of nodes) {
      await eventually(`${database} on ${node.name} at ${wanted.txid}`, HEALED_MS, async () => {
        const found = await positionOf(node.dir, database).catch(() => undefined)
        return found?.txid === wanted.txid && found.checksum === wanted.checksum ? true : undefined
      })
      t.equal(await contentHash(path.join(node.dir, database)), hash, `${node.name}: content of ${database}`)
      await agree(t, node.mount, database)
    }
  }
}

function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
