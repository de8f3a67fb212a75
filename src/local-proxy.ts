import type { Registry } from 'prom-client'
import type { Config } from './config/schema.js'
import { parseAddress } from './http/address.js'
import type { PrimaryView } from './http/node-view.js'
import type { TlsMaterial } from './http/peer-access.js'
import type { ServerAccess } from './http/server.js'
import type { Log } from './log.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import type { PositionBoard } from './mount/position-board.js'
import type { NodeRoles } from './node-roles.js'
import type { OpenWrites } from './open-writes.js'
import { ProxyMetrics } from './proxy/metrics.js'
import type { PrimaryAddress, ProxiedNode } from './proxy/proxied-node.js'
import { type PeerSettings, type RunningProxy, serveProxy } from './proxy/server.js'

/** How the node is called, and how it calls others. */
export interface ProxyAccess {
  readonly server: ServerAccess
  readonly tls: TlsMaterial | undefined
}

export interface LocalProxyParts {
  readonly thread: FileSystemThread
  /** Of the databases in `proxy.db`. */
  readonly board: PositionBoard
  readonly roles: NodeRoles
  readonly writes: OpenWrites
  readonly access: ProxyAccess
  /** Of the metrics that the node shows. */
  readonly registry: Registry
}

/** Serves the proxy that the configuration describes. Rejects when its address cannot be had. */
export async function startProxy(
  { proxy }: Config,
  { thread, board, roles, writes, access, registry }: LocalProxyParts,
  log: Log,
): Promise<RunningProxy> {
  const address = parseAddress(proxy.addr)
  const addressOf = ({ hostname, url, proxyUrl }: PrimaryView): PrimaryAddress => ({
    hostname,
    proxyUrl: proxyUrl ?? proxyBeside(url, address.port, access.server.tls !== undefined),
  })
  const primary = () => {
    const { kind } = roles.runner.state
    // The lease goes to another node, or cannot be renewed.
    if (kind === 'handing' || kind === 'suspended') return undefined
    if (roles.serving !== undefined) return 'self'
    return roles.primary && addressOf(roles.primary)
  }
  const node: ProxiedNode = {
    primary,
    beginWrite: () => (primary() === 'self' ? writes.begin() : undefined),
    primaryChanged: (timeoutMs) => roleChanged(roles, timeoutMs),
    lagMs: () => roles.role().lagMs,
    databases: board.names,
    txid: (name) => board.txid(name),
    reached: (name, txid, signal) => board.reached(name, txid, signal),
    newestTxids: () => thread.ask({ kind: 'positions' }),
    refusedWrites: () => board.refusedWrites,
  }
  const settings = {
    targetUrl: targetUrl(proxy.target),
    passthrough: proxy.passthrough,
    alwaysForward: proxy['always-forward'],
    forwards: forwards(proxy.forward, process.env),
    detectWrites: proxy['detect-writes'],
    debug: proxy.debug,
    maxLagMs: proxy['max-lag'],
    primaryRedirectTimeoutMs: proxy['primary-redirect-timeout'],
  }
  const listening = {
    ...address,
    readTimeoutMs: proxy['read-timeout'],
    readHeaderTimeoutMs: proxy['read-header-timeout'],
    writeTimeoutMs: proxy['write-timeout'],
    idleTimeoutMs: proxy['idle-timeout'],
    tls: access.server.tls,
  }
  const running = await serveProxy(settings, listening, {
    node,
    peers: peerSettings(access),
    metrics: new ProxyMetrics(registry),
    log,
  })
  log.info(`proxy server listening on: ${running.url}`)
  return running
}

/** As Go has it: without a host it is this machine. */
function targetUrl(target: string): string {
  return `http://${target.startsWith(':') ? 'localhost' : ''}${target}`
}

/** Fly.io sets these variables in every machine. */
function forwards(how: Config['proxy']['forward'], env: NodeJS.ProcessEnv): boolean {
  if (how === 'auto') return (env['FLY_APP_NAME'] ?? env['FLY_REGION'] ?? '') === ''
  return how === 'http'
}

/** As the nodes know each other at their API. */
function peerSettings({ server: { token, tls: own }, tls }: ProxyAccess): PeerSettings {
  const { ca, cert, key } = tls ?? {}
  return {
    token,
    clientAuth: own?.clientAuth === true,
    tls: { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) },
  }
}

/** All nodes have their proxies at the same port, and take TLS there or not, unless they say something else. */
function proxyBeside(advertiseUrl: string, port: number, takesTls: boolean): string {
  const { protocol, hostname } = new URL(advertiseUrl)
  return `${takesTls ? protocol : 'http:'}//${hostname}:${port}`
}

/** Resolves when another node may be the primary, or this one may not write for now; after `timeoutMs` milliseconds at the latest. */
async function roleChanged(roles: NodeRoles, timeoutMs: number): Promise<void> {
  const { kind } = roles.runner.state
  let unlisten = () => {}
  const changed = new Promise<void>((resolve) => {
    unlisten = roles.onPrimaryChange(resolve)
  })
  await Promise.race([changed, roles.runner.reached((state) => state.kind !== kind, timeoutMs)])
  unlisten()
}
