import fs from 'node:fs/promises'
import path from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { BackupPath } from '../backup/backup-path.js'
import type { BackupFile } from '../backup/replica-layout.js'
import type { RestoredDatabase } from '../backup/restore.js'
import type { RestoreTarget } from '../backup/restore-plan.js'
import { formatPosition, formatTxid } from '../ltx/names.js'
import { backupOf } from './backup-of.js'
import { interruptible } from './interruption.js'
import { formatBytes, Progress } from './progress.js'
import { type IntoOptions, restoreInto, withIntoOptions } from './restore-into.js'

interface Options extends IntoOptions {
  readonly o?: string
  readonly txid?: bigint
  readonly timestamp?: number
  readonly ifDbNotExists?: true
  readonly ifReplicaExists?: true
  readonly integrityCheck: 'none' | 'quick' | 'full'
  readonly force?: true
  readonly dryRun?: true
  readonly json?: true
  readonly config?: string
  readonly expandEnv: boolean
}

/** `litefs restore [options] DB|URL`: a database from its backup, as of any time that this has. */
export function restoreCommand(): Command {
  const command = new Command('restore')
    .description('write a database from its backup, as of now or of a point in time')
    .argument(
      '<db|url>',
      'database of the configuration file (of litefs: its name, of Litestream: its path), or URL of a backup such as s3://BUCKET/PATH/DB',
    )
    .option(
      '-o <path>',
      'SQLite file to write (default: the name of the database, in this directory; with a configuration of Litestream, the database)',
    )
    .addOption(new Option('--txid <txid>', 'up to this TXID of the backup, 16 hex digits').argParser(txidOf))
    .addOption(
      new Option('--timestamp <time>', 'what there was before this time, as in 2026-11-21T14:31:00Z').argParser(timeOf),
    )
    .option('--if-db-not-exists', 'when the file is there already, do nothing and succeed')
    .option('--if-replica-exists', 'when there is no backup, do nothing and succeed')
    .addOption(
      new Option('--integrity-check <kind>', "run SQLite's check before the file gets its name")
        .choices(['none', 'quick', 'full'])
        .default('none'),
    )
    .option('--force', 'replace a file that is there, with its -wal, -shm and -journal')
    .option('--dry-run', 'only say which files would be fetched')
    .option('--parallelism <count>', 'without effect, as in Litestream: files are fetched side by side')
    .option('--json', 'print JSON')
    .option('--config <path>', 'configuration file, for the name of a database')
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
  return withIntoOptions(command).action(async (source: string, options: Options) => {
    await interruptible((signal) => restore(source, options, signal))
  })
}

async function restore(source: string, options: Options, signal: AbortSignal): Promise<void> {
  const { from, file } = await backupOf(source, options)
  try {
    if (options.into !== undefined) {
      const target = { ...options, into: options.into, name: options.name ?? nameOf(source) }
      const fetch = (output: string) => restoreFrom(from, output, source, options, signal)
      return await restoreInto(target, fetch, signal)
    }
    await restoreFrom(from, options.o ?? file ?? defaultOutput(source), source, options, signal)
  } finally {
    await from.storage.close()
  }
}

async function restoreFrom(
  from: BackupPath,
  output: string,
  source: string,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  if ((await isThere(output)) && options.force !== true && options.dryRun !== true) {
    if (options.ifDbNotExists === true) return say(options, { skipped: `${output} exists` })
    throw new Error(`Cannot restore to ${output}: it is there already (-force replaces it)`)
  }
  const { filesAsOf } = await import('../backup/files-as-of.js')
  const { planRestore, RestorePlanError } = await import('../backup/restore-plan.js')
  const target: RestoreTarget = { txid: options.txid, beforeMs: options.timestamp }
  const files = await filesAsOf(from, options.timestamp)
  if (files.length === 0 && options.ifReplicaExists === true)
    return say(options, { skipped: `no backup at ${from.url}` })
  let plan: BackupFile[]
  try {
    plan = planRestore(files, target)
  } catch (error) {
    throw error instanceof RestorePlanError ? new Error(`Cannot restore ${from.url}: ${error.message}`) : error
  }
  if (options.dryRun === true) return sayPlan(options, from.url, plan)
  const restored = await fetchAndCheck(from, plan, output, { options, signal, label: path.basename(source) })
  if (options.into === undefined) sayRestored(options, output, from.url, plan, restored)
}

interface Running {
  readonly options: Options
  readonly signal: AbortSignal
  readonly label: string
}

async function fetchAndCheck(
  from: BackupPath,
  plan: readonly BackupFile[],
  output: string,
  { options, signal, label }: Running,
): Promise<RestoredDatabase> {
  const { restoreDatabase } = await import('../backup/restore.js')
  const progress = new Progress(label, sizeOf(plan))
  try {
    return await restoreDatabase(from, plan, output, {
      signal,
      onBytes: (count) => progress.add(count),
      check: async (file) => {
        if (options.integrityCheck === 'none') return
        progress.say('integrity check')
        await checkIntegrity(file, options.integrityCheck)
      },
    })
  } catch (error) {
    throw signal.aborted ? signal.reason : new Error(`Cannot restore ${from.url} to ${output}`, { cause: error })
  } finally {
    progress.clear()
  }
}

async function checkIntegrity(file: string, kind: 'quick' | 'full'): Promise<void> {
  const { default: Database } = await import('better-sqlite3')
  const database = new Database(file)
  try {
    const pragma = kind === 'quick' ? 'quick_check' : 'integrity_check'
    const faults = database.pragma(`${pragma}(10)`) as Record<string, string>[]
    const words = faults.flatMap((fault) => Object.values(fault))
    if (words.length !== 1 || words[0] !== 'ok') throw new Error(`the integrity check fails: ${words.join('; ')}`)
  } finally {
    database.close()
  }
}

function sayPlan(options: Options, url: string, plan: readonly BackupFile[]): void {
  const files = plan.map(describeFile)
  if (options.json === true) {
    print(JSON.stringify({ url, files }, undefined, 2))
    return
  }
  for (const { level, minTxid, maxTxid, size, time } of files) {
    print(`level ${level}  ${minTxid}-${maxTxid}  ${time}  ${formatBytes(size)}`)
  }
  print(`${files.length} ${files.length === 1 ? 'file' : 'files'}, ${formatBytes(sizeOf(plan))}`)
}

function sayRestored(
  options: Options,
  output: string,
  url: string,
  plan: readonly BackupFile[],
  { txid, position, pageSize, pageCount, timestampMs }: RestoredDatabase,
): void {
  const time = new Date(timestampMs).toISOString()
  const at = position && formatPosition(position)
  if (options.json === true) {
    const files = plan.map(describeFile)
    const result = { path: output, url, txid: formatTxid(txid), position: at, time, pageSize, pageCount, files }
    print(JSON.stringify(result, undefined, 2))
    return
  }
  const where = at === undefined ? '' : `, position ${at}`
  print(`${output}: restored at TXID ${formatTxid(txid)}${where}, of ${time}, ${pageCount} pages of ${pageSize} bytes`)
}

function say(options: Options, result: { skipped: string }): void {
  print(options.json === true ? JSON.stringify(result, undefined, 2) : `nothing to do: ${result.skipped}`)
}

function describeFile({ level, minTxid, maxTxid, size, timeMs }: BackupFile) {
  const time = new Date(timeMs).toISOString()
  return { level, minTxid: formatTxid(minTxid), maxTxid: formatTxid(maxTxid), size, time }
}

function sizeOf(plan: readonly BackupFile[]): number {
  return plan.reduce((sum, { size }) => sum + size, 0)
}

function defaultOutput(source: string): string {
  const name = path.posix.basename(nameOf(source))
  return path.resolve(name === '' ? 'restored.db' : name)
}

/** Of a database: as it is given, or the last part of a URL. */
function nameOf(source: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(source)) return source
  return decodeURIComponent(path.posix.basename(source.replace(/[?].*$/, '').replace(/\/+$/, '')))
}

async function isThere(file: string): Promise<boolean> {
  return await fs.access(file).then(
    () => true,
    () => false,
  )
}

function txidOf(text: string): bigint {
  if (!/^[0-9a-f]{1,16}$/i.test(text)) throw new InvalidArgumentError('Allowed are up to 16 hex digits.')
  return BigInt(`0x${text}`)
}

function timeOf(text: string): number {
  const isComplete = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i.test(text)
  const timeMs = Date.parse(text)
  if (!isComplete || Number.isNaN(timeMs))
    throw new InvalidArgumentError('Allowed is a time with its zone, as in 2026-11-21T14:31:00Z.')
  return timeMs
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
