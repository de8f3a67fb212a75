// A proxy whose node is in the test's hands, in front of an application that is the test's own.
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { Registry } from 'prom-client'
import type { Test } from 'tap'
import { PositionBoard } from '../../src/mount/position-board.js'
import { OpenWrites } from '../../src/open-writes.js'
import { ProxyMetrics } from '../../src/proxy/metrics.js'
import type { PrimaryAddress, ProxiedNode } from '../../src/proxy/proxied-node.js'
import type { ProxySettings } from '../../src/proxy/router.js'
import { type ListenSettings, type PeerSettings, serveProxy } from '../../src/proxy/server.js'

export class TestNode implements ProxiedNode {
  readonly board: PositionBoard
  readonly databases: readonly string[]
  role: 'self' | PrimaryAddress | undefined = 'self'
  lag: number | undefined = 0
  readonly writes = new OpenWrites()
  #changed: (() => void)[] = []

  constructor(databases: readonly string[]) {
    this.databases = databases
    this.board = new PositionBoard(databases)
  }

  primary = () => this.role
  beginWrite = () => (this.role === 'self' ? this.writes.begin() : undefined)
  lagMs = () => this.lag
  txid = (name: string) => this.board.txid(name)
  reached = (name: string, txid: bigint, signal: AbortSignal) => this.board.reached(name, txid, signal)
  newestTxids = async () => this.databases.map((name) => this.board.txid(name))
  refusedWrites = () => this.board.refusedWrites

  primaryChanged(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#changed.push(resolve)
      setTimeout(resolve, timeoutMs)
    })
  }

  become(role: 'self' | PrimaryAddress | undefined): void {
    this.role = role
    for (const wake of this.#changed.splice(0)) wake()
  }
}

export interface TestProxy {
  readonly node: TestNode
  readonly url: string
  readonly port: number
  readonly registry: Registry
  /** Log lines. */
  readonly lines: string[]
}

export interface ProxyOptions {
  databases?: readonly string[]
  settings?: Partial<ProxySettings>
  listening?: Partial<ListenSettings>
  peers?: Partial<PeerSettings>
}

export async function startTestProxy(t: Test, targetUrl: string, options: ProxyOptions = {}): Promise<TestProxy> {
  const node = new TestNode(options.databases ?? ['app.db'])
  const registry = new Registry()
  const lines: string[] = []
  const note = (line: string) => lines.push(line)
  const log = { debug: note, info: note, warn: note, error: note }
  const settings: ProxySettings = {
    targetUrl,
    passthrough: [],
    alwaysForward: [],
    forwards: true,
    detectWrites: false,
    debug: false,
    maxLagMs: 10_000,
    primaryRedirectTimeoutMs: 5000,
    ...options.settings,
  }
  const listening: ListenSettings = {
    host: '127.0.0.1',
    port: 0,
    readTimeoutMs: 0,
    readHeaderTimeoutMs: 10_000,
    writeTimeoutMs: 0,
    idleTimeoutMs: 30_000,
    tls: undefined,
    ...options.listening,
  }
  const peers = { token: undefined, clientAuth: false, tls: {}, ...options.peers }
  const parts = { node, peers, metrics: new ProxyMetrics(registry), log }
  const { url, port, close } = await serveProxy(settings, listening, parts)
  t.teardown(close)
  return { node, url, port, registry, lines }
}

/** Starts an application; gives its origin. */
export async function startTarget(t: Test, handler: http.RequestListener, port = 0): Promise<string> {
  const server = http.createServer(handler)
  server.maxHeadersCount = 0
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Says what it was asked: method, target, headers as they came, body. */
export const echo: http.RequestListener = (request, response) => {
  text(request).then(
    (body) => {
      const { method, url, rawHeaders } = request
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ method, url, rawHeaders, body }))
    },
    () => {}, // whoever asked has gone
  )
}

/** Sends bytes on a connection of their own and gives all that comes back until it is closed. */
export async function rawly(port: number, sent: string, { endMs = 0 } = {}): Promise<string> {
  const socket = net.connect(port, '127.0.0.1')
  socket.on('error', () => {}) // what came before a reset counts
  socket.write(sent, 'latin1')
  if (endMs > 0) setTimeout(() => socket.end(), endMs).unref()
  let received = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    received += chunk
  })
  await new Promise((resolve) => socket.on('close', resolve))
  return received
}

/** How many requests had this decision. */
export async function decided(registry: Registry, role: string, decision: string): Promise<number> {
  const metrics = await registry.getMetricsAsJSON()
  const requests = metrics.find(({ name }) => name === 'litefs_proxy_requests')
  const values = requests?.values as { value: number; labels: Record<string, string> }[] | undefined
  return values?.find(({ labels }) => labels['role'] === role && labels['decision'] === decision)?.value ?? 0
}
