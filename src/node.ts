import fs from 'node:fs'
import path from 'node:path'
import type { Config } from './config/schema.js'
import { Fence } from './fence.js'
import { holdersOf } from './fuse/holders.js'
import { detachStale, mountFuse, unmount } from './fuse/mountpoint.js'
import type { HaltHolder } from './halt/holder.js'
import { LockMount } from './halt/lock-mount.js'
import { addHaltMetrics } from './halt/metrics.js'
import { parseAddress } from './http/address.js'
import type { RunningServer } from './http/server.js'
import { LocalNode } from './local-node.js'
import type { Log } from './log.js'
import { type FileSystemThread, startFileSystemThread } from './mount/file-system-thread.js'
import type { Request } from './mount/messages.js'
import { PositionBoard } from './mount/position-board.js'
import { exposure, type NodeAccess, nodeAccess } from './node-access.js'
import type { NodeRoles } from './node-roles.js'
import { OpenWrites } from './open-writes.js'
import type { PrimaryBackup, PrimaryBackupParts } from './primary-backup.js'
import type { RunningProxy } from './proxy/server.js'
import { Identity } from './store/identity.js'

/** A node that serves its mount. */
export interface RunningNode {
  readonly isCandidate: boolean
  /** Resolves when the node is the primary, or once had everything that its primary had; undefined where it is the primary at once. */
  readonly synced: Promise<void> | undefined
  /** Resolves when the mount goes away by itself, with an error if there was one. */
  readonly ended: Promise<Error | undefined>
  /** Serves the proxy, if there is to be one, from when the application may be used. Rejects when its address cannot be had. */
  openProxy(): Promise<void>
  closeProxy(): Promise<void>
  /** Unmounts and closes everything; a second call does nothing more. */
  stop(): Promise<void>
}

export interface NodeOptions {
  /** Leave a mount that is already at fuse.dir alone. */
  skipUnmount: boolean
  /** Log every request of the kernel. */
  fuseDebug: boolean
  /** Write the trace to standard output too. */
  traceToStdout: boolean
}

function makeMountPoint(dir: string): void {
  try {
    fs.mkdirSync(dir, { recursive: true })
  } catch (cause) {
    throw new Error(`Cannot mount at ${dir} (fuse.dir)`, { cause })
  }
}

/** Recovers the databases, mounts them and serves them. Rejects, with nothing left mounted, when one of that fails. */
export async function startNode(config: Config, log: Log, options: NodeOptions): Promise<RunningNode> {
  const mountDir = path.resolve(config.fuse.dir)
  const access = nodeAccess(config, process.env)
  if (!options.skipUnmount) await detachStale(mountDir)
  makeMountPoint(mountDir)
  if (!options.skipUnmount) warnOfHidden(mountDir, log)
  const identity = Identity.load(path.resolve(config.data.dir))
  const fence = new Fence()
  const { proxy } = config
  const board = new PositionBoard(proxy.target === '' ? [] : proxy.db)
  const memories = { fence: fence.memory, positions: { names: board.names, memory: board.memory } }
  const started = { ...threadOptions(config, options), nodeId: identity.nodeId, ...memories }
  // Loaded while another processor recovers the databases.
  void import('./http/server.js')
  void import('./open-roles.js')
  const thread = await startFileSystemThread(started, log)
  try {
    const allowOther = config.fuse['allow-other']
    // Before anybody can write.
    await thread.ask({ kind: 'receive', primary: undefined, pid: undefined })
    thread.serve(mountFuse({ dir: mountDir, fsname: 'litefs', allowOther, defaultPermissions: true, readOnly: false }))
  } catch (error) {
    await thread.stop()
    throw error
  }
  const locks = new LockMount(mountDir, config.fuse['allow-other'], thread)
  const writes = new OpenWrites()
  const node = await startCluster(config, { thread, fence, identity, writes, access }, log).catch(async (error) => {
    await stop(mountDir, thread, log)
    throw error
  })
  thread.onRequest((request) => answerRequest(request, locks, node.holder))
  const stopMount = async (backup?: PrimaryBackup) => {
    try {
      await locks.close()
    } finally {
      await stop(mountDir, thread, log, backup)
    }
  }
  let running: RunningProxy | undefined
  const closeProxy = async () => await running?.close()
  const backup = await startBackup(config, node, { thread, log, holdsLease: () => fence.isOpen }).catch(
    async (error) => {
      await stopAll(closeProxy, node, () => stopMount())
      throw error
    },
  )
  let stopping: Promise<void> | undefined
  return {
    isCandidate: config.lease.candidate,
    synced: isStaticPrimary(config) ? undefined : Promise.all([node.roles.synced, backup?.ready]).then(() => {}),
    ended: thread.ended,
    stop: () => {
      stopping ??= stopAll(closeProxy, node, () => stopMount(backup), backup)
      return stopping
    },
    openProxy: async () => {
      if (proxy.target === '') return
      const { startProxy } = await import('./local-proxy.js')
      const { roles, server } = node
      const parts = { thread, board, roles, writes, access, registry: server.registry }
      running = await startProxy(config, parts, log)
    },
    closeProxy,
  }
}

/** What the file-system thread asks. */
async function answerRequest(request: Request, locks: LockMount, holder: HaltHolder): Promise<boolean> {
  if (request.kind === 'takeHalt') return await holder.take(request.name, request.lockId)
  if (request.kind === 'openLocks') await locks.open()
  else if (request.kind === 'releaseHalt') await holder.release(request.name, request.lockId)
  else await holder.commit(request.name, request.ltx)
  return true
}

function isStaticPrimary({ lease }: Config): boolean {
  return lease.type === 'static' && lease.candidate
}

/** Backs up from now on, whenever this node is primary. A static one begins with what the backup has. */
async function startBackup(
  config: Config,
  { local, roles }: ClusterNode,
  parts: Pick<PrimaryBackupParts, 'thread' | 'log' | 'holdsLease'>,
): Promise<PrimaryBackup | undefined> {
  if (config.backup.url === '' || !config.lease.candidate) return undefined
  const { PrimaryBackup } = await import('./primary-backup.js')
  const backup = new PrimaryBackup(config, { local, roles, ...parts })
  backup.start()
  if (isStaticPrimary(config)) await backup.ready
  return backup
}

/** What this node is to others. */
interface ClusterNode {
  readonly roles: NodeRoles
  readonly local: LocalNode
  readonly server: RunningServer
  readonly access: NodeAccess
  readonly holder: HaltHolder
}

interface MountedParts {
  readonly thread: FileSystemThread
  readonly fence: Fence
  readonly identity: Identity
  readonly writes: OpenWrites
  readonly access: NodeAccess
}

/** Serves the API and takes the role that the lease gives, a static one at once. */
async function startCluster(config: Config, parts: MountedParts, log: Log): Promise<ClusterNode> {
  const { thread, identity, access } = parts
  const { openRoles } = await import('./open-roles.js')
  const { roles, followed, replicas, desk, holder } = await openRoles(
    config,
    { ...parts, access: await access.peers() },
    log,
  )
  const local = new LocalNode(thread, {
    nodeId: identity.nodeId,
    clusterId: () => identity.clusterId,
    dataDir: path.resolve(config.data.dir),
    mountDir: path.resolve(config.fuse.dir),
    compress: config.data.compress,
    // LiteFS: a snapshot that takes longer than LTX files are kept is of no use, as what follows it has gone.
    snapshotTimeoutMs: config.http['snapshot-timeout'] || config.data.retention,
    maxBackupLagMs: config.backup['max-lag'],
    replicas,
    roles,
    halts: desk,
    raiseSchemaCookie: (name) => followed.raiseSchemaCookie(name),
  })
  const server = await startServer(config, local, access, log)
  addHaltMetrics(server.registry, desk, holder)
  const { protocol } = new URL(server.url)
  roles.start(config.lease['advertise-url'] || `${protocol}//${roles.self.hostname}:${server.port}`)
  if (config.lease.type === 'static') await roles.settled()
  return { roles, local, server, access, holder }
}

function warnOfHidden(mountDir: string, log: Log): void {
  const hidden = fs.readdirSync(mountDir).length
  if (hidden === 0) return
  log.warn(`${mountDir} is not empty: its ${hidden} entries cannot be seen while LiteFS is mounted there`)
}

async function startServer(config: Config, local: LocalNode, access: NodeAccess, log: Log): Promise<RunningServer> {
  // Loaded late: a start that fails earlier need not wait for it.
  const { serveNode } = await import('./http/server.js')
  const server = await serveNode(local, parseAddress(config.http.addr), access.server, log)
  log.info(`http server listening on: ${server.url}`)
  const warning = exposure(config.http.addr, access.server)
  if (warning !== undefined) log.warn(warning)
  return server
}

/** The role first: another node can have it while this one still serves what it has committed. */
async function stopAll(
  closeProxy: () => Promise<void>,
  { roles, local, server, access }: ClusterNode,
  stopMount: () => Promise<void>,
  backup?: PrimaryBackup,
): Promise<void> {
  try {
    await backup?.prepareStop()
    await roles.stop()
    await closeProxy()
    local.close()
    await access.close()
    await server.close()
  } finally {
    await stopMount()
  }
}

function threadOptions(config: Config, options: NodeOptions) {
  return {
    dataDir: path.resolve(config.data.dir),
    mountDir: path.resolve(config.fuse.dir),
    compress: config.data.compress,
    syncEveryCommit: config.data.sync === 'full',
    retentionMs: config.data.retention,
    retentionIntervalMs: config.data['retention-monitor-interval'],
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    tracing: config.tracing,
    traceToStdout: options.traceToStdout,
    debug: options.fuseDebug,
  }
}

async function stop(mountDir: string, thread: FileSystemThread, log: Log, backup?: PrimaryBackup): Promise<void> {
  await takeAway(mountDir, log)
  try {
    await backup?.stop()
  } finally {
    await thread.stop()
  }
}

/** Unmounts; where files are open, at once all the same, naming who has them. */
async function takeAway(mountDir: string, log: Log): Promise<void> {
  try {
    await unmount(mountDir, { lazy: false })
  } catch (error) {
    const code = (error as { cause?: NodeJS.ErrnoException }).cause?.code
    if (code === 'EINVAL') return
    const holders = holdersOf(mountDir).map(({ pid, name, path }) => `${name} (pid ${pid}): ${path}`)
    log.warn(`${mountDir} is in use and is unmounted all the same`, { holders: holders.join('; ') })
    await unmount(mountDir, { lazy: true })
  }
}
