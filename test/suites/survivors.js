// The databases that a suite left in the mount, each compared byte by byte with what its LTX files alone make.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { listLtxDirectory } from '../../dist/db/ltx-directory.js'
import { rebuildDatabase } from '../../dist/db/ltx-rebuild.js'
import { run } from './child.js'

const MAGIC = 'SQLite format 3\0'
const HEADER_SIZE = 100
const PAGE_SIZE_OFFSET = 16 // fileformat2.html, 1.3; the value 1 means 65536
const CHANGE_COUNTER_OFFSET = 24
const PAGE_COUNT_OFFSET = 28
const VALID_FOR_OFFSET = 92 // the page count holds when this equals the change counter
const SMALLEST_PAGE = 512

/**
 * Looks at every database below a data directory whose daemon has ended.
 *
 * Compared is what SQLite would see: the file after SQLite itself, in a copy, has rolled back a hot journal or written the WAL into the
 * database. A suite may also put a journal beside a database that was complete without it; then the file as it lies there counts.
 * Pages behind those that the header counts are not content. Not compared are databases that are gone, and files without SQLite's header,
 * or of a size that is not whole pages or less than the header counts: SQLite takes them for no database, and nothing in them can be a
 * transaction. Those with LTX files were spoiled on purpose, the others never were databases.
 *
 * @param {string} dataDirectory `data.dir` of the mount
 * @param {string} scratch a directory for copies
 * @returns {Promise<Record<'equal' | 'hot' | 'dropped' | 'spoiled' | 'noDatabase' | 'different', { name: string, reason: string }[]>>}
 */
export async function compareSurvivors(dataDirectory, scratch) {
  const found = { equal: [], hot: [], dropped: [], spoiled: [], noDatabase: [], different: [] }
  for (const directory of databaseDirectories(dataDirectory)) {
    const work = await mkdtemp(path.join(scratch, 'survivor-'))
    try {
      const { outcome, reason = '' } = await compare(directory, work)
      found[outcome].push({ name: path.relative(dataDirectory, directory), reason })
    } finally {
      await rm(work, { recursive: true })
    }
  }
  return found
}

/** Directories of databases: `dbs/NAME`, with LTX files in it, at any depth, as databases in directories of the mount are. */
function databaseDirectories(dataDirectory) {
  return readdirSync(dataDirectory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isDirectory() && entry.name === 'ltx')
    .map((entry) => entry.parentPath ?? entry.path)
    .filter((directory) => path.basename(path.dirname(directory)) === 'dbs')
}

async function compare(directory, work) {
  const ltxFiles = listLtxDirectory(path.join(directory, 'ltx')).map((file) => file.path)
  const database = path.join(directory, 'database')
  if (!existsSync(database)) return gone(ltxFiles, work)
  const current = path.join(work, 'current')
  const problem = await settledCopy(directory, current)
  if (problem !== undefined) return { outcome: 'different', reason: problem }
  if (!isDatabase(await readFile(current))) return { outcome: ltxFiles.length > 0 ? 'spoiled' : 'noDatabase' }
  if (ltxFiles.length === 0) return { outcome: 'different', reason: 'it has content but no LTX files' }

  const rebuilt = await rebuild(ltxFiles, work)
  if (typeof rebuilt === 'string') return { outcome: 'different', reason: rebuilt }
  const difference = firstDifference(await readFile(current), rebuilt)
  if (difference === undefined) return { outcome: 'equal' }
  if (isFilled(path.join(directory, 'journal')) && firstDifference(await readFile(database), rebuilt) === undefined) {
    return { outcome: 'hot' }
  }
  return { outcome: 'different', reason: difference }
}

/** The last LTX file of a database that was removed says so. */
async function gone(ltxFiles, work) {
  if (ltxFiles.length === 0) return { outcome: 'dropped' }
  const rebuilt = await rebuild(ltxFiles, work)
  if (rebuilt.length === 0) return { outcome: 'dropped' }
  return { outcome: 'different', reason: 'it is gone, but not for its LTX files' }
}

/** The bytes that the LTX files make, or why they make none. */
async function rebuild(ltxFiles, work) {
  const target = path.join(work, 'rebuilt')
  try {
    await rebuildDatabase(target, ltxFiles)
  } catch (error) {
    return error.message
  }
  return readFile(target)
}

/** Copies a database and lets SQLite end there what was under way. Gives what SQLite says if it cannot. */
async function settledCopy(directory, target) {
  await copyFile(path.join(directory, 'database'), target)
  const sideFiles = ['journal', 'wal'].filter((name) => isFilled(path.join(directory, name)))
  if (sideFiles.length === 0 || !hasHeader(await readFile(target))) return undefined
  for (const name of sideFiles) await copyFile(path.join(directory, name), `${target}-${name}`)
  const sql = 'SELECT count(*) FROM sqlite_schema; PRAGMA wal_checkpoint(TRUNCATE);'
  const { code, output } = await run('sqlite3', ['-batch', target, sql])
  // A schema that a suite broke on purpose is found out after the journal or the WAL was dealt with.
  return code === 0 || /malformed|not a database/.test(output) ? undefined : `SQLite cannot read it: ${output.trim()}`
}

function isFilled(file) {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0
}

function pageSizeOf(content) {
  const stored = content.readUInt16BE(PAGE_SIZE_OFFSET)
  return stored === 1 ? 65536 : stored
}

/** Bytes of the pages that the header counts; those of the file where its count does not hold. */
function countedSize(content) {
  const pageCount = content.readUInt32BE(PAGE_COUNT_OFFSET)
  const holds = content.readUInt32BE(CHANGE_COUNTER_OFFSET) === content.readUInt32BE(VALID_FOR_OFFSET)
  return holds && pageCount > 0 ? pageCount * pageSizeOf(content) : content.length
}

function hasHeader(content) {
  return content.length >= HEADER_SIZE && content.toString('latin1', 0, MAGIC.length) === MAGIC
}

function isDatabase(content) {
  if (!hasHeader(content)) return false
  const pageSize = pageSizeOf(content)
  const isPageSize = pageSize >= SMALLEST_PAGE && (pageSize & (pageSize - 1)) === 0
  return isPageSize && content.length % pageSize === 0 && content.length >= countedSize(content)
}

/** SQLite may let a file grow in chunks, and does not look at what lies behind the pages that the header counts. */
function withoutExcess(content) {
  return content.length < HEADER_SIZE ? content : content.subarray(0, countedSize(content))
}

function firstDifference(file, made) {
  const current = withoutExcess(file)
  const rebuilt = withoutExcess(made)
  if (current.equals(rebuilt)) return undefined
  if (current.length !== rebuilt.length) return `it has ${current.length} bytes, made from LTX files ${rebuilt.length}`
  const at = current.findIndex((byte, index) => byte !== rebuilt[index])
  return `byte ${at} of ${current.length} is ${current[at]}, made from LTX files ${rebuilt[at]}`
}
