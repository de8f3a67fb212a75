// Network namespaces on a bridge, each node in one of its own, where any direction between any two of them can be cut: packets then go to a
// hardware address that nobody has, and are lost without an answer, as on a broken link.
import type { Test } from 'tap'
import { entering, ip, removeDeadNamespaces } from '../system/namespaces.js'

const DEVICE = 'wire'
const BRIDGE = 'bridge'
/** Locally administered. */
const NOBODY = '02:00:00:00:00:01'
const SUBNET = '10.77.0'

/** Somebody on the network. */
export interface Host {
  readonly address: string
  /** The words that run a command there, whose mounts everybody sees. */
  readonly via: readonly string[]
}

interface Wired extends Host {
  readonly namespace: string
  readonly device: string
}

export class Network {
  /** Where the bridge is, and the lease store. */
  readonly hub: Host
  readonly nodes: readonly Host[]
  readonly #wired: ReadonlyMap<Host, Wired>

  private constructor(hub: Wired, nodes: readonly Wired[]) {
    this.hub = hub
    this.nodes = nodes
    this.#wired = new Map([hub, ...nodes].map((host) => [host, host]))
  }

  /** Makes it for the time of the test. */
  static async build(t: Test, count: number): Promise<Network> {
    await removeDeadNamespaces()
    const hub = await addNamespace(t, 'hub', 100, BRIDGE)
    await ip('-n', hub.namespace, 'link', 'add', BRIDGE, 'type', 'bridge')
    await bringUp(hub)
    const nodes: Wired[] = []
    for (let i = 1; i <= count; i++) {
      const node = await addNamespace(t, `n${i}`, i, DEVICE)
      const port = `port${i}`
      const peer = ['peer', 'name', port, 'netns', hub.namespace]
      await ip('link', 'add', DEVICE, 'netns', node.namespace, 'type', 'veth', ...peer)
      await ip('-n', hub.namespace, 'link', 'set', port, 'master', BRIDGE, 'up')
      await bringUp(node)
      nodes.push(node)
    }
    return new Network(hub, nodes)
  }

  /** What `from` sends to `to` is lost from now on. */
  async cut(from: Host, to: Host): Promise<void> {
    const { namespace, device } = this.#of(from)
    await ip('-n', namespace, 'neigh', 'replace', to.address, 'lladdr', NOBODY, 'nud', 'permanent', 'dev', device)
  }

  /** It arrives again. */
  async mend(from: Host, to: Host): Promise<void> {
    const { namespace, device } = this.#of(from)
    await ip('-n', namespace, 'neigh', 'del', to.address, 'dev', device)
  }

  #of(host: Host): Wired {
    const wired = this.#wired.get(host)
    if (wired === undefined) throw new Error(`Cannot cut ${host.address}: it is of another network`)
    return wired
  }
}

async function addNamespace(t: Test, name: string, number: number, device: string): Promise<Wired> {
  const namespace = `litefs${process.pid}${name}`
  await ip('netns', 'add', namespace)
  t.teardown(() => ip('netns', 'delete', namespace))
  return { address: `${SUBNET}.${number}`, via: entering(namespace), namespace, device }
}

async function bringUp({ namespace, device, address }: Wired): Promise<void> {
  await ip('-n', namespace, 'address', 'add', `${address}/24`, 'dev', device)
  for (const one of ['lo', device]) await ip('-n', namespace, 'link', 'set', one, 'up')
}
