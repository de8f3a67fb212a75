import type { FastifyInstance } from 'fastify'
import { formatTxid } from '../ltx/names.js'
import { sendJson } from './answers.js'
import type { Metrics } from './metrics.js'
import type { DatabaseView, NodeView } from './node-view.js'

/** What the node and its databases are: /info, /databases, /health, /metrics, /debug/vars. */
export function addStatus(app: FastifyInstance, view: NodeView, metrics: Metrics): void {
  app.get('/info', async (_request, reply) => {
    const { isPrimary, candidate, primaryHostname = '' } = view.role()
    const clusterID = view.clusterId()
    return sendJson(reply, {
      ...(clusterID !== undefined && { clusterID }),
      isPrimary,
      candidate,
      path: view.dataDir,
      primary: { hostname: primaryHostname },
    })
  })
  app.get('/databases', async (_request, reply) => {
    const databases = (await view.databases()).filter(({ pageCount }) => pageCount > 0)
    return sendJson(reply, databases.sort((a, b) => (a.name < b.name ? -1 : 1)).map(databaseJson))
  })
  app.get('/health/live', async (_request, reply) => sendJson(reply, { live: true }))
  app.get('/health/ready', async (_request, reply) => {
    const reason = await view.notReady()
    if (reason !== undefined) reply.code(503)
    return sendJson(reply, reason === undefined ? { ready: true } : { ready: false, reason })
  })
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()))
  app.get('/debug/vars', async (_request, reply) => {
    const { isPrimary, candidate } = view.role()
    const databases = (await view.databases()).map((database) => [
      database.name,
      {
        name: database.name,
        txid: formatTxid(database.position.txid),
        checksum: formatTxid(database.position.checksum),
      },
    ])
    const store = { isPrimary, candidate, dbs: Object.fromEntries(databases) }
    return sendJson(reply, { cmdline: process.argv, memstats: process.memoryUsage(), store })
  })
}

function databaseJson(database: DatabaseView): object {
  const { name, position, pageSize, pageCount, journalMode, lagMs = null, lastCommitMs, ltx } = database
  return {
    name,
    txid: formatTxid(position.txid),
    checksum: formatTxid(position.checksum),
    pageCount,
    pageSize,
    journalMode,
    sizeBytes: pageCount * pageSize,
    lagMs,
    lastCommit: new Date(lastCommitMs).toISOString(),
    ltx:
      ltx === undefined
        ? null
        : { minTxid: formatTxid(ltx.minTxid), maxTxid: formatTxid(ltx.maxTxid), count: ltx.count },
  }
}
