import type { BigIntStats } from 'node:fs'
import fs, { type FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { Command } from 'commander'
import { readDatabaseShape } from '../import/database-shape.js'
import { interruptible } from './interruption.js'
import type { NodeAddress } from './node-api.js'
import { type NodeOptions, nodeOf, withNodeOptions } from './node-options.js'
import { Progress } from './progress.js'

interface ImportOptions extends NodeOptions {
  readonly name: string
  readonly integrityCheck?: true
}

/** Bytes read at a time. */
const CHUNK_BYTES = 1 << 20
/** First bytes of a rollback journal that is not done with ("Database File Format", section 3). */
const JOURNAL_MAGIC = Buffer.from('d9d505f920a163d7', 'hex')

/** `litefs import -name DB PATH`: a SQLite file replaces a database, or becomes one, as a single transaction. */
export function importCommand(): Command {
  const command = new Command('import').description('replace or make a database with a SQLite file, as one transaction')
  return withNodeOptions(command)
    .requiredOption('--name <db>', 'the database')
    .option('--integrity-check', "run SQLite's integrity check before anything is sent")
    .argument('<path>', 'SQLite file that nobody writes to meanwhile')
    .action(async (source: string, options: ImportOptions) => {
      await interruptible((signal) => importFile(source, options, signal))
    })
}

async function importFile(source: string, options: ImportOptions, signal: AbortSignal): Promise<void> {
  const { name, integrityCheck = false } = options
  const said = await sendToNode({ source, node: await nodeOf(options), name, integrityCheck, signal })
  process.stdout.write(`${source}: ${said}\n`)
}

export interface Import {
  /** SQLite file that nobody writes to meanwhile. */
  readonly source: string
  readonly node: NodeAddress
  readonly name: string
  readonly integrityCheck: boolean
  readonly signal: AbortSignal
}

/** Has a node replace or make a database, as one transaction. Resolves to what was done, in words. Rejects where that is not possible. */
export async function sendToNode({ source, node, name, integrityCheck, signal }: Import): Promise<string> {
  const file = await fs.open(source).catch((error: Error) => {
    throw new Error(`Cannot import ${source}`, { cause: error })
  })
  try {
    const before = await file.stat({ bigint: true })
    if (!before.isFile()) throw new Error(`Cannot import ${source}: it is not a file`)
    const { pageSize, pageCount } = await readDatabaseShape(file, `import ${source}`)
    await refuseUnfinished(source)
    const progress = new Progress(name, pageSize * pageCount)
    try {
      await refuseReplica(node, name)
      if (integrityCheck) {
        progress.say('integrity check')
        await checkIntegrity(source)
      }
      await sendFile({ source, file, before, progress, node, name, signal })
    } finally {
      progress.clear()
    }
    return `imported as ${name}, ${pageCount} pages, ${progress.summary()}`
  } finally {
    await file.close()
  }
}

/** Transactions beside the file would be lost. */
async function refuseUnfinished(source: string): Promise<void> {
  if (await startsWith(`${source}-journal`, JOURNAL_MAGIC)) {
    const remedy = `end its writer, then run: sqlite3 ${source} 'SELECT * FROM sqlite_schema'`
    throw new Error(`Cannot import ${source}: ${source}-journal belongs to an unfinished transaction (${remedy})`)
  }
  if (await startsWith(`${source}-wal`, Buffer.alloc(0))) {
    const remedy = `run: sqlite3 ${source} 'PRAGMA wal_checkpoint(TRUNCATE)'`
    throw new Error(`Cannot import ${source}: ${source}-wal may hold transactions that are not in it (${remedy})`)
  }
}

/** Whether there is a file that is not empty and starts like this. */
async function startsWith(file: string, start: Buffer): Promise<boolean> {
  const content = await fs.open(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new Error(`Cannot read ${file}`, { cause: error })
  })
  if (content === undefined) return false
  try {
    const { bytesRead, buffer } = await content.read(Buffer.alloc(start.length || 1), 0, start.length || 1, 0)
    return bytesRead > 0 && buffer.subarray(0, start.length).equals(start)
  } finally {
    await content.close()
  }
}

/** Asked for before a large file is sent in vain. */
export async function refuseReplica(node: NodeAddress, name: string): Promise<void> {
  const { getInfo } = await import('./node-status.js')
  const { isPrimary, primary } = await getInfo(node, `import ${name}`)
  if (isPrimary) return
  const where = primary.hostname === '' ? 'which it does not know' : primary.hostname
  const remedy = 'give the address of its API with -url'
  throw new Error(`Cannot import ${name}: ${node.url} is a replica; only the primary (${where}) can: ${remedy}`)
}

async function checkIntegrity(source: string): Promise<void> {
  const { default: Database } = await import('better-sqlite3')
  // Not read-only: SQLite would then leave an empty WAL behind where the file is in WAL mode.
  const database = new Database(source, { fileMustExist: true })
  try {
    const faults = database.pragma('integrity_check(10)') as { integrity_check: string }[]
    const words = faults.map((fault) => fault.integrity_check)
    if (words.length !== 1 || words[0] !== 'ok') throw new Error(words.join('; '))
  } catch (error) {
    throw new Error(`Cannot import ${source}: the integrity check fails`, { cause: error })
  } finally {
    database.close()
  }
}

interface Sending {
  readonly source: string
  readonly file: FileHandle
  readonly before: BigIntStats
  readonly progress: Progress
  readonly node: NodeAddress
  readonly name: string
  readonly signal: AbortSignal
}

async function sendFile({ progress, node, name, signal, ...content }: Sending): Promise<void> {
  const { upload } = await import('./node-api.js')
  const chunks = Readable.from(unchangedContent(content), { objectMode: false, highWaterMark: CHUNK_BYTES })
  const body = progress.counted()
  let failure: Error | undefined
  chunks.on('error', (error) => {
    failure = error
    body.destroy(error)
  })
  chunks.on('end', () => progress.say('waiting for the node to store it'))
  body.on('close', () => chunks.destroy())
  const call = { ...node, path: `/import?name=${encodeURIComponent(name)}`, what: `import ${name}`, signal }
  try {
    const answer = await upload(call, { body: chunks.pipe(body), size: Number(content.before.size) })
    await answer.body.dump()
  } catch (error) {
    throw failure ?? error
  }
}

/** The file's bytes; the last of them only if nobody has written to it meanwhile, so that the node never gets all of a mixture. */
async function* unchangedContent({ source, file, before }: Pick<Sending, 'source' | 'file' | 'before'>) {
  const size = Number(before.size)
  for (let position = 0; position < size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - position))
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
    position += bytesRead
    if (bytesRead === 0 || position === size) await refuseChanged({ source, file, before })
    yield buffer.subarray(0, bytesRead)
  }
}

async function refuseChanged({ source, file, before }: Pick<Sending, 'source' | 'file' | 'before'>): Promise<void> {
  const { size, mtimeNs } = await file.stat({ bigint: true })
  if (size !== before.size || mtimeNs !== before.mtimeNs) {
    throw new Error(`Cannot import ${source}: somebody writes to it (end its writers, and import again)`)
  }
  await refuseUnfinished(source)
}
