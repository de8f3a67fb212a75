import type { FastifyInstance } from 'fastify'
import { formatTxid } from '../ltx/names.js'
import type { ConnectedReplica } from '../replication/connected-replicas.js'
import { sendJson } from './answers.js'
import type { Metrics } from './metrics.js'
import type { BackupView, DatabaseView, NodeView } from './node-view.js'

/** What the node and its databases are: /info, /databases, /peers, /health, /metrics, /debug/vars. */
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
    const backups = new Map(view.backups().map((backup) => [backup.name, backup]))
    const sorted = databases.sort((a, b) => (a.name < b.name ? -1 : 1))
    return sendJson(
      reply,
      sorted.map((database) => databaseJson(database, backups.get(database.name))),
    )
  })
  app.get('/peers', async (_request, reply) => {
    const positions = new Map((await view.databases()).map(({ name, position }) => [name, position.txid]))
    const primary = view.primary()
    return sendJson(reply, {
      primary: primary === undefined ? null : { ...primary, lagMs: primary.lagMs ?? null },
      replicas: view.replicas.all.map((replica) => replicaJson(replica, positions)),
    })
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

/** What a replica has been sent, and how many transactions there are that it has not. */
function replicaJson(replica: ConnectedReplica, positions: ReadonlyMap<string, bigint>): object {
  const databases = [...replica.sent].flatMap(([name, txid]) => {
    const current = positions.get(name)
    if (current === undefined) return []
    return [{ name, txid: formatTxid(txid), behind: Math.max(0, Number(current - txid)) }]
  })
  return {
    nodeId: replica.nodeId,
    address: replica.facts.address,
    hostname: replica.facts.hostname,
    candidate: replica.facts.isCandidate,
    connectedSince: new Date(replica.connectedMs).toISOString(),
    databases: databases.sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}

function databaseJson(database: DatabaseView, backup: BackupView | undefined): object {
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
      ltx.count === 0
        ? null
        : {
            minTxid: formatTxid(ltx.minTxid),
            maxTxid: formatTxid(ltx.maxTxid),
            count: ltx.count,
            bytes: ltx.bytes,
          },
    backup: backup === undefined ? null : backupJson(backup),
  }
}

/** What this node knows of the backup, as the primary. */
function backupJson({ txid, lagMs, lastSuccessMs, error }: BackupView): object {
  return {
    txid: txid === undefined ? null : formatTxid(txid),
    lagMs,
    lastSuccess: lastSuccessMs === 0 ? null : new Date(lastSuccessMs).toISOString(),
    error: error ?? null,
  }
}
