import os from 'node:os'
import path from 'node:path'
import { bootstrap } from './bootstrap.js'
import type { Config } from './config/schema.js'
import type { Fence } from './fence.js'
import { HALT_TTL_VARIABLE, haltTtlMs } from './halt/ttl.js'
import type { PeerAccess } from './http/peer-access.js'
import type { FollowerFacts } from './http/stream-client.js'
import { openLeaser } from './lease/open-leaser.js'
import { formatNodeId } from './local-node.js'
import type { Log } from './log.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import { NodeRoles } from './node-roles.js'
import type { OpenWrites } from './open-writes.js'
import { ConnectedReplicas } from './replication/connected-replicas.js'
import { RoleSwitch } from './role-switch.js'
import { Epoch } from './store/epoch.js'
import type { Identity } from './store/identity.js'
import { PeerFile } from './store/peer-file.js'

export interface RolesParts {
  readonly thread: FileSystemThread
  readonly fence: Fence
  readonly identity: Identity
  readonly writes: OpenWrites
  /** How other nodes are called. */
  readonly access: PeerAccess
}

export interface OpenedRoles extends Pick<RoleSwitch, 'desk' | 'holder'> {
  readonly roles: NodeRoles
  readonly followed: Pick<RoleSwitch, 'raiseSchemaCookie'>
  readonly replicas: ConnectedReplicas
}

/** What gives this node its role, by its configuration, and those that follow it. It is a replica of nobody, and its mount must be served. */
export async function openRoles(
  config: Config,
  { thread, fence, identity, writes, access }: RolesParts,
  log: Log,
): Promise<OpenedRoles> {
  const { lease, data, fuse, proxy } = config
  const isStatic = lease.type === 'static'
  const dataDir = path.resolve(data.dir)
  const epoch = Epoch.load(dataDir)
  const replicas = new ConnectedReplicas()
  const nodeId = formatNodeId(identity.nodeId)
  const named = lease.hostname || os.hostname()
  const proxyUrl = proxy['advertise-url'] || undefined
  const primary = isStatic && !lease.candidate ? staticPrimary(lease, proxyUrl) : undefined
  const leaser = await openLeaser(lease, primary)
  const followed: RoleSwitch = new RoleSwitch({
    thread,
    fence,
    mountDir: path.resolve(fuse.dir),
    writes,
    haltTtlMs: haltTtlMs(process.env[HALT_TTL_VARIABLE]),
    replicas,
    countsEpochs: !isStatic,
    log,
    replica: {
      nodeId,
      access,
      // With a static lease the name and address in litefs.yml are the primary's.
      facts: (): FollowerFacts => ({
        hostname: isStatic ? '' : roles.self.hostname,
        advertiseUrl: isStatic ? '' : roles.self.advertiseUrl,
        isCandidate: lease.candidate,
        epoch: epoch.highest,
      }),
      clusterId: () => identity.clusterId,
      // A primary that is in no cluster yet is LiteFS' with a static lease.
      join: (stream) => {
        if (stream.clusterId !== undefined) identity.joinCluster(stream.clusterId)
        epoch.accept(stream.epoch)
      },
      databases: lease.databases,
      reconnectDelayMs: lease['reconnect-delay'],
      dataDir,
      bringMissing: bootstrap(config, access, log),
      onSynced: () => roles.hasSynced(),
      onHeard: (isHeard) => roles.heard(isHeard),
      onOffered: (leaseId) => roles.offered(leaseId),
    },
  })
  replicas.onChange(() => followed.desk.followedBy(new Set(replicas.all.map((replica) => replica.nodeId))))
  const options = {
    self: { hostname: primary?.hostname ?? named, advertiseUrl: '', nodeId, proxyUrl },
    isCandidate: lease.candidate,
    demoteDelayMs: lease['demote-delay'],
    promote: lease.promote,
    allowStale: lease['allow-stale-promotion'],
    identity,
    epoch,
    peers: PeerFile.load(dataDir),
    replicas,
    access,
  }
  const roles: NodeRoles = new NodeRoles(leaser, followed, options, log)
  return { roles, replicas, followed, desk: followed.desk, holder: followed.holder }
}

/** What the configuration calls it, else the host where it is. */
function staticPrimary(lease: Config['lease'], proxyUrl: string | undefined) {
  const advertiseUrl = lease['advertise-url']
  return { hostname: lease.hostname || new URL(advertiseUrl).hostname, advertiseUrl, proxyUrl }
}
