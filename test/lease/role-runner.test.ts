// What the runner does beside what role.test.ts judges: it waits, asks and tells.
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Lease, Leaser } from '../../src/lease/leaser.js'
import type { RoleParts } from '../../src/lease/role-parts.js'
import { RoleRunner } from '../../src/lease/role-runner.js'
import { monotonicMs } from '../../src/monotonic.js'
import { eventually } from '../system/replicas.js'
import { node } from './backends.js'

const CLUSTER = 'LFSC0123456789ABCDEF'
const TTL_MS = 600

interface World {
  readonly did: string[]
  readonly lines: string[]
  renews: number
  /** How many renewals find the lease. */
  lasts: number
  /** What a handover comes to. */
  readonly handOver?: RoleParts['handOver']
  /** Answers to the next renewals, false or anything. */
  readonly late?: Promise<boolean>[]
}

/** A node alone at a lease store that has lost its data. */
function start(world: World, soleFromMs: number, failure?: Error): RoleRunner {
  const newLease = (): Lease => {
    let renewedAtMs = monotonicMs()
    return {
      id: 'one',
      epoch: 5n,
      ttlMs: TTL_MS,
      soleFromMs,
      get renewedAtMs() {
        return renewedAtMs
      },
      renew: async () => {
        if (++world.renews > world.lasts || (await world.late?.shift()) === false) return false
        renewedAtMs = monotonicMs()
        return true
      },
      release: async () => void world.did.push('release'),
    }
  }
  const leaser: Leaser = {
    name: 'etcd',
    ttlMs: TTL_MS,
    acquire: async () => newLease(),
    takeOver: async () => undefined,
    primary: async () => undefined,
    changed: async () => undefined,
    clusterId: async () => CLUSTER,
    swapClusterId: async () => true,
    announce: async () => ({ ttlMs: TTL_MS, renew: async () => true, withdraw: async () => {} }),
    candidates: async () => [],
    close: async () => {},
  }
  const parts: RoleParts = {
    self: node('self'),
    isCandidate: true,
    clusterId: () => CLUSTER,
    foundCluster: () => CLUSTER,
    unfit: () => undefined,
    awaited: async () => undefined,
    epoch: { highest: 4n, remember: () => {} },
    judge: async () => void world.did.push('judge') as undefined,
    fence: () => {},
    prepare: async () => {},
    lead: async () => {
      if (failure !== undefined) throw failure
      world.did.push('lead')
    },
    follow: async () => {},
    handOver: world.handOver ?? (async () => false),
  }
  const tell = (line: string) => void world.lines.push(line)
  const runner = new RoleRunner(leaser, parts, { debug: tell, info: tell, warn: tell, error: tell })
  runner.start()
  return runner
}

t.test('after the store has lost its data, a lease of before may still be in force', async (t) => {
  const world: World = { did: [], lines: [], renews: 0, lasts: 100 }
  const soleFromMs = monotonicMs() + TTL_MS
  const runner = start(world, soleFromMs)
  t.teardown(() => runner.stop())
  await delay(TTL_MS / 2)
  t.strictSame(world.did, [], 'nobody leads')
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  await runner.quiet()
  t.ok(monotonicMs() >= soleFromMs)
  t.strictSame(world.did, ['judge', 'lead'])
  t.ok(world.renews > 0, 'the new one is kept meanwhile')
  t.equal(world.lines.filter((line) => line.includes('has lost its data')).length, 1)
  t.notMatch(world.lines.join(), /could not be renewed/)
})

t.test('a node that cannot lead says so once', async (t) => {
  const world: World = { did: [], lines: [], renews: 0, lasts: 100 }
  const runner = start(world, 0, new Error('the disk is full'))
  t.teardown(() => runner.stop())
  await eventually(
    'a third attempt',
    20_000,
    async () => world.did.filter((what) => what === 'judge').length > 2 || undefined,
  )
  const lines = world.lines.filter((line) => line.includes('the disk is full'))
  t.strictSame(lines, ['cannot be the primary: the disk is full'])
})

t.test('a lease that is lost while the node waits is none', async (t) => {
  const world: World = { did: [], lines: [], renews: 0, lasts: 0 }
  const runner = start(world, monotonicMs() + TTL_MS)
  t.teardown(() => runner.stop())
  t.ok(await runner.reached(({ kind }) => kind === 'seeking', 10_000))
  await runner.reached(({ kind }) => kind === 'claiming', 10_000)
  await runner.reached(({ kind }) => kind === 'seeking', 10_000)
  t.notMatch(world.did, /lead|judge/)
  t.match(world.lines.join(), /cannot be the primary: the lease was lost again/)
})

t.test('a lease that was sent to another node is never led with again, whether or not that has taken it', async (t) => {
  const world: World = { did: [], lines: [], renews: 0, lasts: 1000, handOver: async () => true }
  const runner = start(world, 0)
  t.teardown(() => runner.stop())
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  await runner.quiet()
  world.did.length = 0
  t.equal(await runner.handOver('AB', 0, 20_000), false, 'the lease store names nobody else')
  await runner.reached(({ kind }) => kind === 'leading', 10_000)
  await runner.quiet()
  t.strictSame(world.did, ['release', 'judge', 'lead'], 'with another lease only')
})

t.test('a lease that could not be renewed before it was sent is kept', async (t) => {
  const handOver: RoleParts['handOver'] = async (_nodeId, _lease, renew) => (await renew()) && false
  const world: World = { did: [], lines: [], renews: 0, lasts: 1000, handOver }
  const runner = start(world, 0)
  t.teardown(() => runner.stop())
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  await runner.quiet()
  world.did.length = 0
  world.renews = 0
  t.equal(await runner.handOver('AB', 0, 20_000), false)
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  await runner.quiet()
  t.strictSame(world.did, ['lead'])
})

t.test('whoever ends waits until the lease is given up', async (t) => {
  const world: World = { did: [], lines: [], renews: 0, lasts: 1000 }
  const runner = start(world, 0)
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  runner.tell({ type: 'demote', standAfterMs: 60_000 })
  await runner.stop()
  t.ok(world.did.includes('release'))
})

t.test('what is said of a lease that was given up is not said of the next', async (t) => {
  let answer = (_isOurs: boolean) => {}
  const late = new Promise<boolean>((resolve) => {
    answer = resolve
  })
  const world: World = { did: [], lines: [], renews: 0, lasts: 1000, late: [late] }
  const runner = start(world, 0)
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  await eventually('a renewal', 10_000, async () => world.renews || undefined)
  runner.tell({ type: 'demote', standAfterMs: 0 })
  t.ok(await runner.reached(({ kind }) => kind === 'leading', 10_000))
  answer(false)
  await eventually('renewals of the second', 10_000, async () => world.renews > 3 || undefined)
  t.equal(runner.state.kind, 'leading')
  await runner.stop()
  t.strictSame(world.did, ['judge', 'lead', 'release', 'judge', 'lead', 'release'], 'which is given up too')
})
