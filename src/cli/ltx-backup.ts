import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { BackupPath } from '../backup/backup-path.js'
import { DEFAULT_ACCESS, openStorage } from '../backup/open-storage.js'
import { type BackupFile, isStorageUrl } from '../backup/replica-layout.js'
import { verifyBackup } from '../backup/verify-backup.js'
import { LtxError } from '../ltx/error.js'
import { formatTxid, parseLtxName } from '../ltx/names.js'
import { type BackupOptions, backupOf } from './backup-of.js'
import { interruptible } from './interruption.js'
import { dumpFile } from './ltx-dump.js'
import { printAligned } from './ltx-print.js'
import { Progress } from './progress.js'

const COLUMNS = ['level', 'min_txid', 'max_txid', 'size', 'created']

export interface ListOptions {
  /** Undefined for all. */
  readonly level: number | undefined
  readonly json: boolean
}

/** Lists what the backup of a database has, without opening a file: as `litestream ltx` does. */
export async function listBackup(source: string, lookUp: BackupOptions, { level, json }: ListOptions): Promise<void> {
  const { from } = await backupOf(source, lookUp)
  try {
    const files = level === undefined ? await from.allFiles(false) : await from.files(level)
    const rows = files.map(describe)
    if (json) print(JSON.stringify(rows, undefined, 2))
    else printAligned([COLUMNS, ...rows.map((row) => Object.values(row).map(String))])
  } finally {
    await from.storage.close()
  }
}

/** What `litefs ltx verify` says of a backup. */
export interface VerifiedBackup {
  readonly fileCount: number
  readonly errors: readonly Error[]
  /** What can be restored, in words. */
  readonly summary: string
}

/** Fetches and checks all files of a database's backup, and what they come to. */
export async function verifyBackupOf(url: string): Promise<VerifiedBackup> {
  const { from } = await backupOf(url, { expandEnv: true })
  const directory = await mkdtemp(path.join(os.tmpdir(), 'litefs-verify-'))
  try {
    const files = await from.allFiles(false)
    if (files.length === 0) throw new LtxError(`Cannot read LTX files: there are none at ${from.url}`)
    const progress = new Progress(
      'verify',
      files.reduce((sum, { size }) => sum + size, 0),
    )
    const verdict = await interruptible((signal) =>
      verifyBackup(from, files, { directory, signal, onBytes: (count) => progress.add(count) }),
    ).finally(() => progress.clear())
    const errors = verdict.errors.map((error) => (error instanceof LtxError ? error : inWords(from, error)))
    return { fileCount: verdict.fileCount, errors, summary: summaryOf(verdict) }
  } finally {
    await from.storage.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Prints one file of a backup, named by its URL. */
export async function dumpOfBackup(url: string, options: { json: boolean; data: boolean }): Promise<void> {
  const [, parent = '', name = '', query = ''] = /^(.*)\/([^/?]+)(\?.*)?$/.exec(url) ?? []
  if (parseLtxName(name) === undefined || !isStorageUrl(parent))
    throw new LtxError(`Cannot dump ${url}: allowed is the URL of one file, as in s3://BUCKET/PATH/DB/0000/MIN-MAX.ltx`)
  const storage = await openStorage(parent + query, DEFAULT_ACCESS, process.env)
  const directory = await mkdtemp(path.join(os.tmpdir(), 'litefs-dump-'))
  const file = path.join(directory, name)
  try {
    await interruptible(async (signal) => {
      const content = Readable.from(await storage.read(name, 0), { objectMode: false })
      await pipeline(content, createWriteStream(file), { signal })
    })
    dumpFile(file, options)
  } catch (error) {
    // The copy is gone by the time that this is read.
    if (error instanceof LtxError) throw new LtxError(error.message.replace(file, url), { cause: error })
    throw error
  } finally {
    await storage.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Rows in JSON have Litestream's names of columns. */
function describe({ level, minTxid, maxTxid, size, timeMs }: BackupFile) {
  const created = new Date(timeMs).toISOString()
  return { level, min_txid: formatTxid(minTxid), max_txid: formatTxid(maxTxid), size, created }
}

function summaryOf({ from, to }: { readonly from: BackupFile | undefined; readonly to: BackupFile | undefined }) {
  if (from === undefined || to === undefined) return 'its newest state cannot be restored'
  const time = new Date(to.timeMs).toISOString()
  return `restores TXID ${formatTxid(from.maxTxid)} to ${formatTxid(to.maxTxid)}, the last one of ${time}`
}

function inWords({ url }: BackupPath, error: Error): Error {
  return new Error(`${url}: ${error.message}`, { cause: error })
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
