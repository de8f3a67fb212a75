// Whoever has won the lease asks the other candidates, real servers here, where they stand.
import t, { type Test } from 'tap'
import { ExpectedPeers } from '../src/expected-peers.js'
import { RequestError } from '../src/http/answers.js'
import { PeerAccess } from '../src/http/peer-access.js'
import type { Lease, Leaser, NodeInfo, PrimaryInfo } from '../src/lease/leaser.js'
import { StaticLeaser } from '../src/lease/static-leaser.js'
import { monotonicMs } from '../src/monotonic.js'
import { NodeRoles } from '../src/node-roles.js'
import { ConnectedReplica, ConnectedReplicas } from '../src/replication/connected-replicas.js'
import type { SwitchedNode } from '../src/role-switch.js'
import { Epoch } from '../src/store/epoch.js'
import { Identity } from '../src/store/identity.js'
import { PeerFile } from '../src/store/peer-file.js'
import { serve, type TestNode, testNode } from './http/node.js'
import { eventually } from './system/replicas.js'

const warnings: string[] = []
const log = { debug() {}, info() {}, warn: (line: string) => void warnings.push(line), error() {} }
/** Of the peer in http/node.ts, whose database is at TXID 7. */
const CLUSTER = 'LFSC0123456789ABCDEF'
const lease: Lease = {
  id: 'the lease',
  epoch: 5n,
  ttlMs: 10_000,
  renewedAtMs: 0,
  soleFromMs: 0,
  renew: async (signal) => {
    signal.throwIfAborted()
    return true
  },
  release: async () => {},
}

const TTL_MS = 800
const given = new StaticLeaser(undefined)
let holder: PrimaryInfo | undefined
/** A lease store that names nobody else than this, and gives the lease to whoever asks. */
const forgetful: Leaser = {
  name: 'etcd',
  ttlMs: TTL_MS,
  acquire: async () => ({ ...lease, renewedAtMs: monotonicMs() }),
  takeOver: () => given.takeOver(),
  primary: async () => holder,
  changed: (...seen) => given.changed(...seen),
  clusterId: async () => CLUSTER,
  swapClusterId: async () => true,
  announce: () => given.announce(),
  candidates: () => given.candidates(),
  close: () => given.close(),
}

/** A node whose database is at this TXID, and that knows these others since its last run; its role is never switched. */
function nodeAt(
  t: Test,
  txid: bigint,
  allowStale = false,
  known: readonly NodeInfo[] = [],
  handOver: SwitchedNode['handOver'] = async () => false,
): NodeRoles {
  const dataDir = t.testdir({ clusterid: CLUSTER })
  PeerFile.load(dataDir).remember(
    known.map(({ hostname, advertiseUrl, nodeId }) => ({ hostname, advertiseUrl, nodeId })),
    Date.now(),
  )
  const positions = new Map([['a.db', { txid, checksum: txid === 7n ? 9n : 1n }]])
  const still: SwitchedNode = {
    serving: undefined,
    primary: undefined,
    lagMs: undefined,
    notReady: undefined,
    replica: { positions: async () => positions },
    fence: () => {},
    prepare: async () => {},
    lead: async () => {},
    follow: async () => {},
    handOver,
    finish: async () => {},
    close: async () => {},
  }
  const replicas = new ConnectedReplicas()
  const facts = { address: '', hostname: 'peer', advertiseUrl: '', isCandidate: true }
  replicas.add(new ConnectedReplica({ nodeId: 'BB', ...facts }, positions))
  const options = {
    self: { hostname: 'self', advertiseUrl: 'http://self:1', nodeId: 'AA' },
    isCandidate: true,
    demoteDelayMs: 0,
    promote: false,
    allowStale,
    identity: Identity.load(dataDir),
    epoch: Epoch.load(dataDir),
    peers: PeerFile.load(dataDir),
    replicas,
    access: new PeerAccess({ token: undefined, tls: undefined }),
  }
  return new NodeRoles(forgetful, still, options, log)
}

async function peerOf(change: TestNode['change'], heard = 3n): Promise<NodeInfo> {
  const node = testNode()
  node.heard = heard
  node.change = change
  const { url } = await serve(node)
  return { hostname: 'peer', advertiseUrl: url, nodeId: 'BB' }
}

const judged = (roles: NodeRoles, peers: NodeInfo[], epoch = lease.epoch) =>
  roles.judge({ ...lease, epoch }, { announced: peers, remembered: [] }, lease)

t.test('a candidate that is ahead gets the lease', async (t) => {
  const asked: string[] = []
  const peer = await peerOf(async (what) => void asked.push(what))
  t.equal(await judged(nodeAt(t, 4n), [peer]), 'peer is ahead of this node by 3 transactions')
  t.strictSame(asked, ['take the lease'])
  t.equal(await judged(nodeAt(t, 7n), [peer]), undefined, 'it stands where this node does')
  t.equal(await judged(nodeAt(t, 8n), [peer]), undefined, 'it is behind')
  t.equal(await judged(nodeAt(t, 4n, true), [peer]), undefined, 'lease.allow-stale-promotion')
  t.strictSame(asked, ['take the lease'])
})

t.test('so does one that the lease store has forgotten, and that is offered it once', async (t) => {
  let asked = 0
  const peer = await peerOf(async () => {
    asked++
  })
  const roles = nodeAt(t, 4n)
  const judge = () => roles.judge(lease, { announced: [], remembered: [peer] }, lease)
  t.equal(await judge(), 'peer is ahead of this node by 3 transactions')
  t.equal(await judge(), undefined, 'it has not become the primary')
  t.equal(asked, 1)
})

const DEAD: NodeInfo = { hostname: 'dead', advertiseUrl: 'http://127.0.0.1:1', nodeId: 'CC' }

t.test('and one that an earlier run of this node has known, for which it waits', async (t) => {
  let asked = 0
  const peer = await peerOf(async () => void asked++)
  const roles = nodeAt(t, 4n, false, [peer, DEAD])
  const startMs = monotonicMs()
  roles.start('http://self:1')
  t.teardown(() => roles.stop())
  await eventually(
    'it says why',
    10_000,
    async () => roles.notReady?.match(/waits a moment for dead, which/) ?? undefined,
  )
  t.ok(await roles.runner.reached(({ kind }) => kind === 'leading', 20_000))
  t.ok(monotonicMs() - startMs >= TTL_MS)
  t.equal(asked, 1, 'before this node leads, although the lease store names nobody')
})

t.test('whoever has answered once is not waited for', async (t) => {
  const peer = await peerOf(async () => {})
  const access = new PeerAccess({ token: undefined, tls: undefined })
  const known = { hostname: 'peer', advertiseUrl: peer.advertiseUrl, nodeId: undefined }
  const expected = new ExpectedPeers(access, [known], 60_000)
  t.equal(await expected.awaited(), undefined)
  const dead = { hostname: 'dead', advertiseUrl: DEAD.advertiseUrl, nodeId: undefined }
  const both = new ExpectedPeers(access, [known, dead], 60_000)
  t.match(await both.awaited(), /waits a moment for dead, /)
  t.equal(await new ExpectedPeers(access, [dead], 0).awaited(), undefined, 'the time is over')
})

t.test('one that does not take it is offered it three times', async (t) => {
  let asked = 0
  const peer = await peerOf(async () => {
    asked++
    throw new RequestError(503, 'Cannot take the lease: the lease did not arrive')
  })
  const roles = nodeAt(t, 4n)
  for (let i = 0; i < 3; i++) t.match(await judged(roles, [peer]), /ahead .* has not taken the lease: .*503/)
  t.equal(await judged(roles, [peer]), undefined, 'a cluster with a primary that is behind is better than none')
  t.equal(asked, 3)
})

t.test('one that lies, and takes no lease, keeps nobody from leading', async (t) => {
  const peer = await peerOf(async () => {})
  const roles = nodeAt(t, 4n)
  for (let i = 0; i < 3; i++) t.match(await judged(roles, [peer]), /ahead of this node/)
  t.equal(await judged(roles, [peer]), undefined)
  await roles.follow({ ...peer, epoch: 6n })
  t.match(await judged(roles, [peer]), /ahead of this node/, 'once there was a primary it may be true')
})

t.test(
  'peers that do not answer are not waited for, and one that has heard of a later lease ends this one',
  async (t) => {
    warnings.length = 0
    t.equal(await judged(nodeAt(t, 4n), [DEAD]), undefined)
    t.match(warnings, [/cannot find out where dead stands, which may be ahead: .*ECONNREFUSED/], 'as is told')
    const peer = await peerOf(async () => {})
    const roles = nodeAt(t, 8n)
    t.match(await judged(roles, [DEAD, peer], 2n), /heard of a later lease \(epoch 3\)/)
    t.equal(roles.epoch.highest, 3n, 'and the next lease is to be above that')
    warnings.length = 0
    const liar = await peerOf(async () => {}, 10n ** 19n - 1n)
    t.equal(await judged(roles, [liar]), undefined)
    t.match(warnings, [/^peer is not believed: the epoch that it names, 9999999999999999999, cannot be right/])
    t.equal(roles.epoch.highest, 3n)
  },
)

t.test('a node that is to end while it hands over ends when that is done', async (t) => {
  t.teardown(() => {
    holder = undefined
  })
  let goOn = () => {}
  const quiet = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const did: string[] = []
  const roles = nodeAt(t, 7n, true, [], async (_to, _leaseId, renew) => {
    await quiet
    did.push(`renewed: ${await renew()}`)
    holder = { hostname: 'peer', advertiseUrl: DEAD.advertiseUrl, nodeId: 'BB', epoch: 6n }
    return true
  })
  roles.start('http://self:1')
  t.ok(await roles.runner.reached(({ kind }) => kind === 'leading', 20_000))
  await roles.runner.quiet()
  const handing = roles.handOff('BB')
  const ending = roles.stop().then(() => did.push('ended'))
  goOn()
  await Promise.all([handing, ending])
  t.strictSame(did, ['renewed: true', 'ended'])
})
