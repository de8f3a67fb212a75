import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describeError, type Log } from '../log.js'
import { exchange } from './exchange.js'
import type { ProxyMetrics } from './metrics.js'
import { MAX_HEADER_BYTES, Origins, type PeerTls } from './origins.js'
import { asksForOtherHttp, withoutUpgrade } from './other-http.js'
import { type PeerRules, Peers } from './peers.js'
import type { ProxiedNode } from './proxied-node.js'
import type { RequestContext } from './request-context.js'
import { type ProxySettings, Router, type Send } from './router.js'
import { type ProxyTls, takeTls } from './secure.js'
import { announcesTrailers, exchangeWithTrailers } from './trailers.js'
import { Upgrades } from './upgrades.js'

export interface ListenSettings {
  /** Empty for every address. */
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
  /** Milliseconds; 0 for none. */
  readonly readTimeoutMs: number
  readonly readHeaderTimeoutMs: number
  readonly writeTimeoutMs: number
  readonly idleTimeoutMs: number
  /** Take TLS on the same port too. */
  readonly tls: ProxyTls | undefined
}

/** How proxies of a cluster know each other. */
export interface PeerSettings extends PeerRules {
  readonly tls: PeerTls
}

export interface RunningProxy {
  /** Where it is reached: `http://localhost:8080`. */
  readonly url: string
  readonly port: number
  /** Lets what is under way end, for a moment, and cuts what is left. */
  close(): Promise<void>
}

/** How often slow clients are looked for, milliseconds: a limit is exceeded by this at most. */
const LOOK_MS = 500
/** Requests that are under way when the proxy closes get this long, milliseconds. */
const LAST_ANSWERS_MS = 1000

export interface ServerParts {
  readonly node: ProxiedNode
  readonly peers: PeerSettings
  readonly metrics: ProxyMetrics
  readonly log: Log
}

/** Serves the proxy. Rejects when the address cannot be had. */
export async function serveProxy(
  settings: ProxySettings,
  listening: ListenSettings,
  { node, peers, metrics, log }: ServerParts,
): Promise<RunningProxy> {
  const open = new Set<RequestContext>()
  const origins = new Origins(peers.tls)
  const router = new Router(settings, { node, peers: new Peers(peers), metrics, log, open })
  const server = createServer(listening)
  const toHttp = server.listeners('connection')
  const cutUndecided = listening.tls && takeTls(server, listening.tls, listening.readHeaderTimeoutMs)
  const failed = (error: Error) => log.error(`proxy: ${describeError(error)}`)
  const send: Send = (context, url, headers, accept) => {
    const { method, target: path, request, response } = context
    const outgoing = { method, path, headers, body: context.body() }
    if (!announcesTrailers(request)) return exchange(origins.pool(url), outgoing, response, accept)
    return exchangeWithTrailers(url, outgoing, request, response, accept, peers.tls)
  }
  const serve = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => {
    limitWriting(response, listening.writeTimeoutMs)
    router.handle(request, response, send, expectsContinue).catch((error: Error) => {
      failed(error)
      response.destroy()
    })
  }
  server.on('request', (request, response) => serve(request, response, false))
  server.on('checkContinue', (request, response) => serve(request, response, true))
  const upgrades = new Upgrades(router, peers.tls)
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (asksForOtherHttp(request)) {
      socket.unshift(Buffer.concat([withoutUpgrade(request), head]))
      const takeAgain = () => {
        for (const listener of toHttp) Reflect.apply(listener, server, [socket])
      }
      // Who does not wait for an answer before he asks again gets them in order.
      const before = [...open].find((context) => context.request.socket === socket)
      if (before === undefined) takeAgain()
      else before.response.once('close', takeAgain)
      return
    }
    upgrades.handle(request, socket as Socket, head).catch((error: Error) => {
      failed(error)
      socket.destroy()
    })
  })
  await listen(server, listening)
  const { port } = server.address() as AddressInfo
  const host = listening.host === '' ? 'localhost' : listening.host
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const patience = new Promise((resolve) => setTimeout(resolve, LAST_ANSWERS_MS).unref())
      await Promise.race([closed, patience])
      for (const context of open) context.abort()
      upgrades.close()
      cutUndecided?.()
      server.closeAllConnections()
      await origins.close()
      await closed
    },
  }
}

function createServer({ readTimeoutMs, readHeaderTimeoutMs, idleTimeoutMs }: ListenSettings): http.Server {
  const server = http.createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    requestTimeout: readTimeoutMs,
    // Node refuses a longer time for the headers than for all of the request.
    headersTimeout: readTimeoutMs > 0 ? Math.min(readTimeoutMs, readHeaderTimeoutMs) : readHeaderTimeoutMs,
    keepAliveTimeout: idleTimeoutMs,
    connectionsCheckingInterval: LOOK_MS,
    noDelay: true,
  })
  // Bytes limit them; more than a number of them would be left out without a word.
  server.maxHeadersCount = 0
  return server
}

/** As Go counts: from the end of the request's headers to the end of the answer. */
function limitWriting(response: ServerResponse, timeoutMs: number): void {
  if (timeoutMs === 0) return
  const timer = setTimeout(() => response.destroy(), timeoutMs)
  response.once('close', () => clearTimeout(timer))
}

/** Every address is IPv6's, which takes IPv4 too, where there is IPv6. */
async function listen(server: http.Server, { host, port }: ListenSettings): Promise<void> {
  const hosts = host === '' ? ['::', '0.0.0.0'] : [host]
  for (const candidate of hosts) {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host: candidate, port }, () => {
          server.off('error', reject)
          resolve()
        })
      })
      return
    } catch (error) {
      server.removeAllListeners('error')
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'EAFNOSUPPORT' && candidate !== hosts.at(-1)) continue
      const reason = code === 'EADDRINUSE' ? ': the address is in use, set proxy.addr to a free one' : ' (proxy.addr)'
      throw new Error(`Cannot listen on ${host}:${port}${reason}`, { cause: error })
    }
  }
}
