import { randomBytes } from 'node:crypto'
import fs, { type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Command } from 'commander'
import { replaceDatabase } from '../db/replace-database.js'
import { readDatabaseShape } from '../import/database-shape.js'
import { interruptible } from './interruption.js'
import { type NodeOptions, nodeOf, withNodeOptions } from './node-options.js'
import { Progress } from './progress.js'

interface ExportOptions extends NodeOptions {
  readonly name: string
}

/** What a new file may at most be; the umask takes from it. */
const NEW_FILE_MODE = 0o666

/** `litefs export -name DB PATH`: a consistent SQLite file of a database, while its writers go on. */
export function exportCommand(): Command {
  return withNodeOptions(new Command('export').description('write a consistent copy of a database to a file'))
    .requiredOption('--name <db>', 'the database')
    .argument('<path>', 'SQLite file to write; replaced, with its -wal, -shm and -journal, once all is there')
    .action(async (target: string, options: ExportOptions) => {
      await interruptible((signal) => exportDatabase(target, options, signal))
    })
}

async function exportDatabase(target: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  const { name } = options
  const node = await nodeOf(options)
  const { file, mode } = await resolveTarget(target)
  const { get } = await import('./node-api.js')
  const what = `export ${name}`
  const { body, headers } = await get({ ...node, path: `/export?name=${encodeURIComponent(name)}`, what, signal })
  const length = headers['content-length']
  const progress = new Progress(name, typeof length === 'string' ? Number(length) : undefined)
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}-${randomBytes(6).toString('hex')}.tmp`)
  try {
    const handle = await fs.open(temporary, 'wx+', mode ?? NEW_FILE_MODE)
    try {
      if (mode !== undefined) await handle.chmod(mode)
      await pipeline(body, progress.counted(), (chunks: AsyncIterable<Buffer>) => appendAll(handle, chunks), { signal })
      await readDatabaseShape(handle, `use what ${node.url} sent of ${name}`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await replaceDatabase(temporary, file)
  } catch (error) {
    await fs.rm(temporary, { force: true })
    throw signal.aborted ? signal.reason : new Error(`Cannot export ${name} to ${target}`, { cause: error })
  } finally {
    progress.clear()
  }
  const position = headers['litefs-pos']
  const at = typeof position === 'string' ? ` at ${position}` : ''
  process.stdout.write(`${target}: ${name}${at}, ${progress.summary()}\n`)
}

async function appendAll(file: FileHandle, chunks: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of chunks) await file.appendFile(chunk)
}

/** Where a link leads, and the mode of what is replaced. Rejects what a database should not replace, before anything is asked for. */
async function resolveTarget(target: string): Promise<{ file: string; mode: number | undefined }> {
  try {
    const stat = await fs.stat(target)
    if (!stat.isFile()) throw new Error('it is there and is not a file')
    return { file: await fs.realpath(target), mode: stat.mode & 0o7777 }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { file: target, mode: undefined }
    throw new Error(`Cannot write ${target}`, { cause: error })
  }
}
