import type { AddressInfo } from 'node:net'
import fastify, { type FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import { describeError, type Log } from '../log.js'
import { RequestError } from './answers.js'
import { addEvents } from './events.js'
import { addGuard } from './guard.js'
import { addHalts } from './halts.js'
import { createDualServer, type ServerTls } from './listener.js'
import { Metrics } from './metrics.js'
import type { NodeView } from './node-view.js'
import { addRoles } from './roles.js'
import { addStatus } from './status.js'
import { addStream } from './stream.js'
import { addTransfer } from './transfer.js'

export const NODE_ID_HEADER = 'Litefs-Id'
export const CLUSTER_ID_HEADER = 'Litefs-Cluster-Id'

export interface RunningServer {
  /** Where it is reached: `http://localhost:20202`. */
  readonly url: string
  readonly port: number
  /** Of the metrics that it shows; other parts of the node add theirs. */
  readonly registry: Registry
  /** Ends every stream with an end frame, then closes every connection. */
  close(): Promise<void>
}

export interface ListenAddress {
  /** Empty for every address. */
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
}

/** Who is let in. */
export interface ServerAccess {
  /** What callers must know; undefined lets everybody in. */
  readonly token: string | undefined
  /** Whether /metrics, /health and /debug ask for it too. */
  readonly protectMetrics: boolean
  /** Undefined to speak in clear text. */
  readonly tls: ServerTls | undefined
}

export const OPEN_ACCESS: ServerAccess = { token: undefined, protectMetrics: false, tls: undefined }

/** Streams that end by themselves get this long, milliseconds. */
const LAST_FRAMES_MS = 1000

/** Serves a node's API. Rejects when the address cannot be had, or the certificate is none. */
export async function serveNode(
  view: NodeView,
  address: ListenAddress,
  access: ServerAccess,
  log: Log,
): Promise<RunningServer> {
  const app = fastify({
    serverFactory: (handler) => createDualServer(handler, access.tls),
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 2048 },
  })
  const closing = new AbortController()
  const streams = new Set<Promise<void>>()
  const metrics = new Metrics(view)
  if (access.token !== undefined) addGuard(app, access.token, access.protectMetrics)
  addCommon(app, view, log)
  addStatus(app, view, metrics)
  addEvents(app, view, closing.signal)
  addTransfer(app, view, log)
  addRoles(app, view)
  addHalts(app, view)
  addStream(app, view, { metrics, log, signal: closing.signal, streams })
  await listen(app, address)
  const { port } = app.server.address() as AddressInfo
  const host = address.host === '' ? 'localhost' : address.host
  return {
    url: `${access.tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    registry: metrics.registry,
    close: async () => {
      closing.abort()
      const patience = new Promise((resolve) => setTimeout(resolve, LAST_FRAMES_MS).unref())
      await Promise.race([Promise.allSettled(streams), patience])
      await app.close()
    },
  }
}

/** Every address is IPv6's, which takes IPv4 too, where there is IPv6. */
async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<void> {
  const hosts = host === '' ? ['::', '0.0.0.0'] : [host]
  for (const candidate of hosts) {
    try {
      await app.listen({ host: candidate, port })
      return
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'EAFNOSUPPORT' && candidate !== hosts.at(-1)) continue
      const what = `Cannot listen on ${host}:${port}`
      if (code !== 'EADDRINUSE') throw new Error(`${what} (http.addr)`, { cause: error })
      const remedy = 'set http.addr in litefs.yml to a free one, each node of a machine its own'
      throw new Error(`${what}: the address is in use, perhaps by another litefs (${remedy})`, { cause: error })
    }
  }
}

/** What holds for every answer: the ids, and errors as JSON. */
function addCommon(app: FastifyInstance, view: NodeView, log: Log): void {
  app.removeAllContentTypeParsers()
  // Bodies are taken by those who expect one, with limits of their own.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.addHook('onRequest', async (_request, reply) => {
    reply.header(NODE_ID_HEADER, view.nodeId)
    const clusterId = view.clusterId()
    if (clusterId !== undefined) reply.header(CLUSTER_ID_HEADER, clusterId)
  })
  app.setNotFoundHandler(async (request, reply) => {
    const [path = ''] = request.url.split('?')
    return reply.code(404).send({ error: `There is no ${request.method} ${path.slice(0, 200)}` })
  })
  app.setErrorHandler(async (error: Error & { statusCode?: number }, request, reply) => {
    const status = error instanceof RequestError ? error.statusCode : (error.statusCode ?? 500)
    // What is refused for a reason that the caller is told is no fault of this node.
    if (status >= 500 && !(error instanceof RequestError))
      log.error(`http: ${request.method} ${request.url.split('?')[0]}: ${describeError(error)}`)
    return reply.code(status).send({ error: describeError(error) })
  })
}
