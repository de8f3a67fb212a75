import { Command } from 'commander'
import { type NodeOptions, nodeOf, withNodeOptions } from './node-options.js'
import type { DatabaseRow, NodeStatus, Peers } from './node-status.js'
import { formatBytes } from './progress.js'

const REPLICA_COLUMNS = ['REPLICA', 'ADDRESS', 'CONNECTED SINCE', 'DATABASE', 'SENT TXID', 'BEHIND']
const COLUMNS = ['DATABASE', 'TXID', 'CHECKSUM', 'PAGES', 'SIZE', 'MODE', 'LAG']

/** `litefs status`: a node, its databases and its peers, for people or as JSON. Ends with code 0 whenever the node answers, ready or not. */
export function statusCommand(): Command {
  return withNodeOptions(new Command('status').description('show a node, its databases and its peers'))
    .option('--json', 'print JSON')
    .action(async (options: NodeOptions & { json?: true }) => {
      const { getStatus } = await import('./node-status.js')
      const status = await getStatus(await nodeOf(options))
      process.stdout.write(options.json === true ? `${JSON.stringify(status, undefined, 2)}\n` : textOf(status))
    })
}

function textOf(status: NodeStatus): string {
  const { url, nodeId, clusterId, dataDir, ready, reason, databases } = status
  const facts = [
    ['node', `${nodeId} at ${url}`],
    ['cluster', clusterId ?? 'no id'],
    ['role', roleOf(status)],
    ...primaryOf(status.peers),
    ['state', ready ? 'ready' : `not ready: ${reason}`],
    ['data', dataDir],
  ]
  const isBackedUp = databases.some(({ backup }) => backup !== undefined && backup !== null)
  const columns = isBackedUp ? [...COLUMNS, 'BACKUP'] : COLUMNS
  const rows = databases.map((database) => [...rowOf(database), ...(isBackedUp ? [backupOf(database)] : [])])
  const table = databases.length === 0 ? 'no databases\n' : aligned([columns, ...rows])
  return `${aligned(facts)}\n${table}${peersOf(status)}`
}

/** The replicas of a primary, each with what it has been sent of each database, and how many transactions it has not. */
function peersOf({ isPrimary, peers }: NodeStatus): string {
  if (!isPrimary) return ''
  const rows = peers.replicas.flatMap(({ nodeId, address, connectedSince, databases }) => {
    const who = [nodeId, address, connectedSince]
    if (databases.length === 0) return [[...who, '-', '-', '-']]
    return databases.map(({ name, txid, behind }) => [...who, name, txid, String(behind)])
  })
  return rows.length === 0 ? '\nno replicas connected\n' : `\n${aligned([REPLICA_COLUMNS, ...rows])}`
}

function primaryOf({ primary }: Peers): string[][] {
  if (primary === null) return []
  const lag = primary.lagMs === null ? 'never synced' : `${primary.lagMs} ms behind`
  return [
    ['primary', `${primary.hostname} at ${primary.url}, ${primary.connected ? 'connected' : 'not connected'}, ${lag}`],
  ]
}

function roleOf({ isPrimary, candidate, primaryHostname }: NodeStatus): string {
  if (isPrimary) return 'primary'
  const primary = primaryHostname === '' ? 'an unknown primary' : primaryHostname
  return `replica of ${primary}${candidate ? ', candidate' : ''}`
}

function rowOf({ name, txid, checksum, pageCount, sizeBytes, journalMode, lagMs }: DatabaseRow): string[] {
  const lag = lagMs === null ? 'never synced' : `${lagMs} ms`
  return [name, txid, checksum, String(pageCount), formatBytes(sizeBytes), journalMode, lag]
}

function backupOf({ backup }: DatabaseRow): string {
  if (backup === undefined || backup === null) return '-'
  if (backup.error !== null) return `fails: ${backup.error}`
  return backup.lagMs === 0 ? 'current' : `${(backup.lagMs / 1000).toFixed(1)} s behind`
}

function aligned(rows: readonly string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}
