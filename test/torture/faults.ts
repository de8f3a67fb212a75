// How each fault is made, and made good again.
import { constants } from 'node:os'
import type { Cluster, Node } from './cluster.js'
import type { Host } from './network.js'
import type { Fault, Step } from './schedule.js'

/** Ends a fault. */
export type Heal = () => Promise<void>

const HOUR_MS = 3_600_000
/** Shorter and longer than a lease; less than LTX files are kept. */
const CLOCK_STEPS_MS = [-6 * HOUR_MS, -HOUR_MS, -3000, -700, 700, 3000, HOUR_MS, 6 * HOUR_MS]

/** What is done to a node, and what it takes to undo it. */
const makers: Record<Fault, (cluster: Cluster, node: Node, choice: number) => Promise<Heal>> = {
  kill: async (_cluster, node) => {
    await node.mount.kill('SIGKILL')
    return () => node.start()
  },
  terminate: async (_cluster, node) => {
    await node.mount.stop()
    return () => node.start()
  },
  pause: async (_cluster, node) => {
    node.signal('SIGSTOP')
    return async () => node.signal('SIGCONT')
  },
  isolate: ({ network, nodes }, { host }) => {
    const others = [network.hub, ...hostsBeside(nodes, host)]
    return cutAll(network, [...from(host, others), ...to(host, others)])
  },
  'cut-store': ({ network }, { host }) => {
    return cutAll(network, [...from(host, [network.hub]), ...to(host, [network.hub])])
  },
  'cut-peers': ({ network, nodes }, { host }) => {
    const others = hostsBeside(nodes, host)
    return cutAll(network, [...from(host, others), ...to(host, others)])
  },
  mute: ({ network, nodes }, { host }) => cutAll(network, from(host, [network.hub, ...hostsBeside(nodes, host)])),
  deafen: ({ network, nodes }, { host }) => cutAll(network, to(host, [network.hub, ...hostsBeside(nodes, host)])),
  'full-disk': async (_cluster, { disk }, choice) => {
    disk.arm({ at: 1 + (choice % 30), allAfter: true, errno: constants.errno.ENOSPC, torn: true })
    return async () => disk.disarm()
  },
  'failing-call': async (_cluster, { disk }, choice) => {
    disk.arm({ at: 1 + (choice % 30), allAfter: false, errno: constants.errno.EIO, torn: choice % 2 === 0 })
    return async () => disk.disarm()
  },
  promote: async (_cluster, node) => {
    await node.litefs('run', '-promote', '--', 'true')
    return async () => {}
  },
  clock: async (_cluster, { disk }, choice) => {
    disk.setClock(CLOCK_STEPS_MS[choice % CLOCK_STEPS_MS.length] ?? 0)
    return async () => disk.setClock(0)
  },
  'kill-writer': async (_cluster, { writer }) => {
    await writer.kill()
    return async () => writer.start()
  },
  'store-kill': async ({ store }) => {
    await store.stop()
    return () => store.start()
  },
  'store-pause': async ({ store }) => {
    store.signal('SIGSTOP')
    return async () => store.signal('SIGCONT')
  },
}

/** Makes a fault. Rejects when it cannot be made. */
export async function make(cluster: Cluster, { fault, node, choice }: Step): Promise<Heal> {
  const victim = cluster.nodes[node % cluster.nodes.length]
  if (victim === undefined) throw new Error('Cannot make a fault: there are no nodes')
  return await makers[fault](cluster, victim, choice)
}

type Direction = readonly [from: Host, to: Host]

function hostsBeside(nodes: readonly Node[], host: Host): Host[] {
  return nodes.map((node) => node.host).filter((other) => other !== host)
}

function from(host: Host, others: readonly Host[]): Direction[] {
  return others.map((other) => [host, other])
}

function to(host: Host, others: readonly Host[]): Direction[] {
  return others.map((other) => [other, host])
}

/** Each direction can be cut by several at once, and works again when the last of them is healed. */
const cuts = new Map<string, number>()

async function cutAll(network: Cluster['network'], directions: readonly Direction[]): Promise<Heal> {
  for (const [a, b] of directions) {
    const key = `${a.address} ${b.address}`
    cuts.set(key, (cuts.get(key) ?? 0) + 1)
    await network.cut(a, b)
  }
  return async () => {
    for (const [a, b] of directions) {
      const key = `${a.address} ${b.address}`
      const left = (cuts.get(key) ?? 0) - 1
      cuts.set(key, left)
      if (left === 0) await network.mend(a, b)
    }
  }
}
