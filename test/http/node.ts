// A node without databases of its own: what the HTTP API is asked and told is in the test's hands.
import t from 'tap'
import type { NodeView } from '../../src/http/node-view.js'
import { OPEN_ACCESS, type RunningServer, type ServerAccess, serveNode } from '../../src/http/server.js'
import { ConnectedReplicas } from '../../src/replication/connected-replicas.js'
import type { Transaction } from '../../src/replication/recent.js'
import type { HeldSnapshot, SourcePosition } from '../../src/replication/source.js'

export const silent = { debug() {}, info() {}, warn() {}, error() {} }

export interface TestNode {
  readonly view: NodeView
  readonly positions: Map<string, SourcePosition>
  /** LTX files by name and first TXID. */
  readonly files: Map<string, Transaction>
  readonly listeners: Set<(name: string, transaction: Transaction) => void>
  isPrimary: boolean
  notReady: string | undefined
  epoch: bigint | undefined
  /** The highest epoch that it says it has heard of. */
  heard: bigint
  readonly heardOf: bigint[]
  readonly roleListeners: Set<() => void>
  change: (what: string) => Promise<void>
  follow: () => Promise<() => void>
  snapshot: (name: string) => Promise<HeldSnapshot | undefined>
}

export function testNode(snapshotTimeoutMs = 0): TestNode {
  const listeners = new Set<(name: string, transaction: Transaction) => void>()
  const positions = new Map<string, SourcePosition>()
  const files = new Map<string, Transaction>()
  const roleListeners = new Set<() => void>()
  const node: Omit<TestNode, 'view'> = {
    positions,
    files,
    listeners,
    isPrimary: true,
    notReady: undefined,
    epoch: undefined,
    heard: 3n,
    heardOf: [],
    roleListeners,
    change: async () => {},
    follow: async () => () => {},
    snapshot: async () => undefined,
  }
  const view: NodeView = {
    nodeId: '00000000000000AB',
    clusterId: () => 'LFSC0123456789ABCDEF',
    role: () => ({ isPrimary: node.isPrimary, candidate: true, primaryHostname: 'one', lagMs: 0 }),
    replicas: new ConnectedReplicas(),
    serving: () => (node.isPrimary ? { signal: new AbortController().signal, epoch: node.epoch } : undefined),
    heardOf: (epoch) => node.heardOf.push(epoch),
    roles: {
      promote: () => node.change('promote'),
      handOff: (nodeId) => node.change(`hand off to ${nodeId}`),
      demote: () => node.change('demote'),
      takeLease: (id) => node.change(`take ${id}`),
      standing: async () => ({
        isSynced: true,
        epoch: node.heard,
        positions: new Map([['a.db', { txid: 7n, checksum: 9n }]]),
      }),
      onPrimaryChange: (listener) => {
        roleListeners.add(listener)
        return () => roleListeners.delete(listener)
      },
    },
    halts: {
      take: async (name, id, _holder, renew) => {
        await node.change(`halt ${name} ${id} ${renew}`)
        return {
          id,
          position: { txid: 0xabcn, checksum: 0x8000000000000001n },
          expiresMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
        }
      },
      release: (name, id) => node.change(`unhalt ${name} ${id}`),
      commit: (name, id, { header }) => node.change(`commit ${name} ${id} ${header.maxTxid}`),
    },
    primary: () => undefined,
    notReady: async () => node.notReady,
    dataDir: '/var/lib/litefs',
    databases: async () => [],
    backups: () => [],
    compress: true,
    snapshotTimeoutMs,
    importDatabase: async () => ({ pageSize: 4096, pageCount: 1 }),
    source: {
      nodeId: 0xabn,
      positions: () => positions,
      subscribe: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      transaction: async (name, minTxid) => files.get(`${name} ${minTxid}`),
      prepareFor: async () => {},
      snapshot: (name) => node.snapshot(name),
      avoidFiles: () => {},
      highWaters: new Map(),
      follow: () => node.follow(),
      subscriberCount: 0,
    },
  }
  return Object.assign(node, { view })
}

export async function serve(node: TestNode, access: ServerAccess = OPEN_ACCESS): Promise<RunningServer> {
  const server = await serveNode(node.view, { host: '127.0.0.1', port: 0 }, access, silent)
  t.teardown(() => server.close())
  return server
}
