// Litestream's own code as the judge: its SQLite extension writes a whole restored database (LITESTREAM_HYDRATION) by the plan, merge and
// decoding of `litestream restore`.
import { access, copyFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { npmPackage } from '../servers/npm-package.js'
import type { Teardown } from '../servers/process.js'
import { temporaryDirectory } from '../servers/programs.js'
import { run } from '../system/harness.js'

const VERSION = '0.5.17'
/** Go's names of processors. */
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch

async function library(): Promise<string> {
  const modules = await npmPackage('litestream-vfs', VERSION)
  return path.join(modules, `litestream-vfs-linux-${ARCHITECTURE}`, 'litestream-vfs.so')
}

/** Has Litestream's extension open the database of a URL in the `sqlite3` shell. Throws with what it says when it cannot. */
async function inLitestream(url: string, settings: readonly string[], lines: readonly string[]): Promise<string> {
  const variables = [`LITESTREAM_REPLICA_URL=${url}`, ...settings]
  const script = [
    `.load ${await library()} sqlite3_litestreamvfs_init`,
    '.open file:restored.db?vfs=litestream',
    ...lines,
    "select 'opened';",
  ]
  const args = ['-u', 'AWS_CA_BUNDLE', ...variables, 'sqlite3', '-batch', '-bail', ':memory:', ...script]
  const { code, stdout, stderr } = await run('env', args)
  if (code !== 0 || !stdout.includes('opened')) throw new Error(`Litestream cannot open ${url}: ${stdout}${stderr}`)
  return stdout
}

/** What Litestream restores from a URL, as `target`. Throws with what it says when it cannot. */
export async function litestreamRestore(t: Teardown, url: string, target: string): Promise<void> {
  const scratch = await temporaryDirectory(t, 'oracle')
  const log = path.join(scratch, 'log')
  const hydrated = path.join(scratch, 'hydrated')
  const settings = [
    'LITESTREAM_HYDRATION_ENABLED=true',
    `LITESTREAM_HYDRATION_PATH=${hydrated}`,
    `LITESTREAM_LOG_FILE=${log}`,
  ]
  // Closing the database ends hydration, so all is read once before. (What that finds is not looked at: after a database has shrunk, this
  // version takes it for larger than it is.)
  await inLitestream(url, settings, ['pragma quick_check(1);'])
  await access(`${hydrated}.meta`)
  await copyFile(hydrated, target)
  await rm(hydrated)
}

/** What a query gives on the database that Litestream finds at a URL as of a moment, milliseconds since the epoch. Throws as `litestreamRestore`. */
export async function litestreamAsOf(t: Teardown, url: string, timeMs: number, query: string): Promise<string> {
  const scratch = await temporaryDirectory(t, 'oracle')
  const settings = [`LITESTREAM_LOG_FILE=${path.join(scratch, 'log')}`]
  const lines = [`pragma litestream_time = '${new Date(timeMs).toISOString()}';`, `${query};`]
  const output = await inLitestream(url, settings, lines)
  return output.slice(0, output.lastIndexOf('opened'))
}

/** Litestream's extension as a writer: a transaction of the database at a URL, which becomes the next upload of level 0. */
export async function litestreamWrite(t: Teardown, url: string, statement: string): Promise<void> {
  const scratch = await temporaryDirectory(t, 'oracle')
  const settings = [
    'LITESTREAM_WRITE_ENABLED=true',
    `LITESTREAM_BUFFER_PATH=${path.join(scratch, 'buffer')}`,
    `LITESTREAM_LOG_FILE=${path.join(scratch, 'log')}`,
  ]
  await inLitestream(url, settings, [`${statement};`])
}
