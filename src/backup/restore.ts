import fs, { type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type OpenLtxFile, openLtxFile } from '../db/ltx-file.js'
import { openMergeOf } from '../db/ltx-merge.js'
import { replaceDatabase } from '../db/replace-database.js'
import { checksumFromHalves, lockPage } from '../ltx/checksum.js'
import { LtxError } from '../ltx/error.js'
import type { LtxHeader } from '../ltx/header.js'
import { formatTxid, type Position } from '../ltx/names.js'
import type { LtxReader } from '../ltx/page-block.js'
import { pageChecksum } from '../native.js'
import type { BackupPath } from './backup-path.js'
import { download } from './download.js'
import type { BackupFile } from './replica-layout.js'
import { inRestoreDirectory } from './restore-directory.js'
import { inParallel } from './storage.js'

/** Files that are fetched at once. */
export const PARALLEL_DOWNLOADS = 8
/** Bytes that are written at once. */
const WRITE_BYTES = 4 << 20

export interface RestoreOptions {
  readonly signal: AbortSignal
  /** Told of each piece that has arrived, bytes. */
  readonly onBytes: (count: number) => void
  /** Looks at the finished file before it gets its name; rejects when it must not. */
  readonly check: (file: string) => Promise<void>
}

export interface RestoredDatabase {
  /** Of the backup. */
  readonly txid: bigint
  /** Of the database that was backed up, as `-pos` told it; undefined where Litestream wrote the backup. */
  readonly position: Position | undefined
  readonly pageSize: number
  readonly pageCount: number
  /** Milliseconds since the epoch, of the last transaction; 0 where the backup does not tell. */
  readonly timestampMs: number
}

/**
 * Makes the database that the files of a plan come to, at `output`, which is replaced. All is fetched and written in a directory beside it and
 * checked: each file's checksum, that pages and files are complete and, in backups of ours, the checksum of the database. Then the file is
 * renamed, and `output`'s journal and WAL go; when anything fails before that, all is as before. Takes the disk space of the files and of the database, and little memory.
 */
export async function restoreDatabase(
  from: BackupPath,
  plan: readonly BackupFile[],
  output: string,
  options: RestoreOptions,
): Promise<RestoredDatabase> {
  const restoring = inRestoreDirectory(output, async (directory) => {
    const numbered = plan.map((file, index) => ({ file, target: path.join(directory, `${index}.ltx`) }))
    await inParallel(numbered, PARALLEL_DOWNLOADS, ({ file, target }) => download(from, file, target, options))
    const database = path.join(directory, 'database')
    const restored = await mergeInto(database, from, numbered, directory, options.signal)
    await options.check(database)
    await replaceDatabase(database, output)
    return restored
  })
  return await restoring.catch((error) => {
    throw withNeed(error, output, plan)
  })
}

/** Where the disk is full: how much space it takes. */
function withNeed(error: unknown, output: string, plan: readonly BackupFile[]): unknown {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) return error
  const megabytes = Math.ceil(plan.reduce((sum, { size }) => sum + size, 0) / 1e6)
  const parent = path.dirname(path.resolve(output))
  const need = `the files of the backup take ${megabytes} MB there, and then comes the database (free space, or restore to another disk)`
  return new Error(`${parent} is too small: ${need}`, { cause: error })
}

/** A file of a plan and the local copy of it. */
export interface FetchedFile {
  readonly file: BackupFile
  readonly target: string
}

/** Reads the files of a plan as one, a whole database. `directory`: for what is made meanwhile. Errors name the file in the backup. */
export async function openPlan(
  from: BackupPath,
  files: readonly FetchedFile[],
  directory: string,
): Promise<OpenLtxFile> {
  const runs = files.map(({ file, target }) => () => {
    try {
      const open = openLtxFile(target)
      checkName(open.reader.header, file)
      return { reader: named(open.reader, from.urlOf(file)), close: open.close }
    } catch (error) {
      throw error instanceof LtxError ? new LtxError(`${from.urlOf(file)}: ${reasonOf(error)}`) : error
    }
  })
  return await openMergeOf(runs, directory, { overlapping: true })
}

async function mergeInto(
  database: string,
  from: BackupPath,
  files: readonly FetchedFile[],
  directory: string,
  signal: AbortSignal,
): Promise<RestoredDatabase> {
  const merge = await openPlan(from, files, directory)
  try {
    const { header } = merge.reader
    const handle = await fs.open(database, 'wx', 0o644)
    try {
      const checksum = await writePages(handle, merge.reader, signal)
      checkChecksum(header, checksum)
      await handle.sync()
    } finally {
      await handle.close()
    }
    const { pageSize, commit: pageCount, timestamp: timestampMs, sourcePosition: position } = header
    return { txid: header.maxTxid, position, pageSize, pageCount, timestampMs }
  } finally {
    merge.close()
  }
}

/** Writes a whole database and returns its checksum. The lock page, which no file has, stays zeros. */
async function writePages(handle: FileHandle, reader: LtxReader, signal: AbortSignal): Promise<bigint> {
  const { pageSize, commit } = reader.header
  const buffer = Buffer.allocUnsafe(Math.max(WRITE_BYTES, pageSize))
  const sum = new Uint32Array(2)
  const one = new Uint32Array(2)
  let used = 0
  let offset = 0
  const flush = async () => {
    signal.throwIfAborted()
    for (let done = 0; done < used; ) {
      const { bytesWritten } = await handle.write(buffer, done, used - done, offset + done)
      done += bytesWritten
    }
    offset += used
    used = 0
    await setImmediate()
  }
  for (const { pgno, data } of reader.pages()) {
    const place = (pgno - 1) * pageSize
    if (place !== offset + used || used + pageSize > buffer.length) {
      await flush()
      offset = place
    }
    buffer.set(data, used)
    used += pageSize
    pageChecksum(one, 0, pgno, data, 0, data.length)
    sum[0] = (sum[0] ?? 0) ^ (one[0] ?? 0)
    sum[1] = (sum[1] ?? 0) ^ (one[1] ?? 0)
  }
  await flush()
  if (commit === lockPage(pageSize)) await handle.truncate(commit * pageSize)
  return checksumFromHalves(sum[0] ?? 0, sum[1] ?? 0)
}

function checkChecksum({ sourcePosition }: LtxHeader, checksum: bigint): void {
  if (sourcePosition === undefined || sourcePosition.checksum === checksum) return
  const wanted = formatTxid(sourcePosition.checksum)
  throw new LtxError(`Cannot restore: the database's checksum was ${wanted} and would be ${formatTxid(checksum)}`)
}

function checkName({ minTxid, maxTxid }: LtxHeader, file: BackupFile): void {
  if (minTxid === file.minTxid && maxTxid === file.maxTxid) return
  throw new LtxError(`it has the transactions ${formatTxid(minTxid)} to ${formatTxid(maxTxid)}`)
}

/** Errors name the file in the backup, and not the copy that is gone by the time they are read. */
function named(reader: LtxReader, url: string): LtxReader {
  return {
    header: reader.header,
    get trailer() {
      return reader.trailer
    },
    *pages() {
      try {
        yield* reader.pages()
      } catch (error) {
        throw error instanceof LtxError ? new LtxError(`${url}: ${reasonOf(error)}`, { cause: error }) : error
      }
    },
  }
}

function reasonOf(error: LtxError): string {
  return error.cause instanceof LtxError ? error.cause.message : error.message
}
