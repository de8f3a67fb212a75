import { Command } from 'commander'
import type { DatabaseRow, NodeStatus } from './node-status.js'
import { urlOption } from './node-url.js'
import { formatBytes } from './progress.js'

const COLUMNS = ['DATABASE', 'TXID', 'CHECKSUM', 'PAGES', 'SIZE', 'MODE', 'LAG']

/** `litefs status`: a node and its databases, for people or as JSON. Ends with code 0 whenever the node answers, ready or not. */
export function statusCommand(): Command {
  return new Command('status')
    .description('show a node and its databases')
    .addOption(urlOption())
    .option('--json', 'print JSON')
    .action(async ({ url, json }: { url: string; json?: true }) => {
      const { getStatus } = await import('./node-status.js')
      const status = await getStatus(url)
      process.stdout.write(json === true ? `${JSON.stringify(status, undefined, 2)}\n` : textOf(status))
    })
}

function textOf(status: NodeStatus): string {
  const { url, nodeId, clusterId, dataDir, ready, reason, databases } = status
  const facts = [
    ['node', `${nodeId} at ${url}`],
    ['cluster', clusterId ?? 'no id'],
    ['role', roleOf(status)],
    ['state', ready ? 'ready' : `not ready: ${reason}`],
    ['data', dataDir],
  ]
  const table = databases.length === 0 ? 'no databases\n' : aligned([COLUMNS, ...databases.map(rowOf)])
  return `${aligned(facts)}\n${table}`
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

function aligned(rows: readonly string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}
