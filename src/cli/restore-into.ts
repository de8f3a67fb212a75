import { existsSync } from 'node:fs'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import type { NodeAddress } from './node-api.js'
import { nodeOf } from './node-options.js'
import type { DatabaseRow } from './node-status.js'

/** Of `litefs restore`, for a running cluster. */
export interface IntoOptions {
  readonly into?: string
  readonly name?: string
  readonly tokenFile?: string
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly config?: string
  readonly expandEnv: boolean
  readonly json?: true
  readonly dryRun?: true
  readonly o?: string
}

/** How long the backup may take to have what is there before it is replaced, milliseconds. */
const BACKUP_WAIT_MS = 30_000
const POLL_MS = 100

export function withIntoOptions(command: Command): Command {
  return command
    .option(
      '--into <url>',
      'instead of writing a file, replace a database of a running cluster: the API of its primary',
    )
    .option('--name <db>', 'with -into: the database (default: the one that is restored)')
    .option(
      '--token-file <path>',
      'with -into: file with the token (default: that of -config, or the variable LITEFS_TOKEN)',
    )
    .option('--ca <path>', "with -into: file with the authority that signed the node's certificate")
    .option('--cert <path>', 'with -into: file with a certificate to show, where the node asks for one')
    .option('--key <path>', 'with -into: file with its key')
}

/**
 * Replaces a database of a cluster with what `fetch` writes to a file, as one transaction. Before, the node's own backup gets what is there, so that
 * the point just before can be restored. Rejects when nothing was changed, or the node does not say that it was.
 */
export async function restoreInto(
  options: IntoOptions & { readonly into: string; readonly name: string },
  fetch: (output: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { name, into } = options
  if (options.o !== undefined) throw new Error('Cannot use both -o and -into: with -into no file is written')
  const { refuseReplica, sendToNode } = await import('./import.js')
  const node = await addressOf(options)
  await refuseReplica(node, name)
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'litefs-restore-'))
  try {
    const source = path.join(directory, path.basename(name))
    await fetch(source)
    if (options.dryRun === true || !existsSync(source)) return
    const before = await untilBackedUp(node, name, signal)
    const said = await sendToNode({ source, node, name, integrityCheck: false, signal })
    const after = await lookUp(node, name)
    const result = { into, name, undo: before === undefined || after === undefined ? undefined : undoOf(before, after) }
    if (options.json === true) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`)
    else process.stdout.write(`${said}\n${undoText(result.undo)}\n`)
  } finally {
    await fs.rm(directory, { recursive: true, force: true })
  }
}

/** The token and the certificates may be in the configuration that names the backup, but not in one of Litestream. */
async function addressOf({ into, ...options }: IntoOptions & { readonly into: string }): Promise<NodeAddress> {
  const { isLitestreamConfig } = await import('../config/litestream-load.js')
  const { config, ...others } = options
  const isOurs = config !== undefined && !isLitestreamConfig(config)
  const url = new URL(into).origin
  return await nodeOf({ ...others, url, ...(isOurs && { config }) })
}

async function lookUp(node: NodeAddress, name: string): Promise<DatabaseRow | undefined> {
  const { getDatabase } = await import('./node-status.js')
  return await getDatabase(node, name, `restore into ${node.url}`)
}

/** The database as its backup has it; undefined where there is none, or no backup of it. Rejects when the backup does not come there. */
async function untilBackedUp(node: NodeAddress, name: string, signal: AbortSignal): Promise<DatabaseRow | undefined> {
  for (const start = Date.now(); ; ) {
    const row = await lookUp(node, name)
    if (row?.backup === undefined || row.backup === null) return undefined
    if (row.backup.txid !== null && row.backup.txid >= row.txid) return row
    if (Date.now() - start > BACKUP_WAIT_MS) {
      const why = row.backup.error ?? 'it does not keep up with what is written'
      throw new Error(
        `Cannot restore into ${name}: what is there now is not in its backup, and could not be restored: ${why}`,
      )
    }
    await delay(POLL_MS, undefined, { signal })
  }
}

interface Undo {
  /** For `-timestamp`. */
  readonly timestamp: string
  /** Whether nothing else was committed meanwhile, which that would undo, too. */
  readonly isExact: boolean
}

function undoOf(before: DatabaseRow, after: DatabaseRow): Undo {
  const isExact = BigInt(`0x${after.txid}`) === BigInt(`0x${before.txid}`) + 1n
  // What has this time itself is not restored: the transaction that came from here, or everything after what was there before.
  if (isExact) return { timestamp: after.lastCommit, isExact }
  return { timestamp: new Date(Date.parse(before.lastCommit) + 1).toISOString(), isExact }
}

function undoText(undo: Undo | undefined): string {
  if (undo === undefined) return 'it cannot be undone: there was no such database, or the node makes no backup of it'
  const what = undo.isExact ? 'what was there before' : 'what was there before, without what was committed meanwhile'
  const precision = 'while single uploads are kept, l0-retention: 5m by default; then up to half a minute earlier'
  return `to undo it, restore ${what}: -timestamp ${undo.timestamp} (${precision})`
}
