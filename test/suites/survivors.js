// The databases that a suite left in the mount, each compared byte by byte with what its LTX files alone make.
import { closeSync, constants, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
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
const CHUNK_SIZE = 1 << 20

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
  if (!isDatabase(current)) return { outcome: ltxFiles.length > 0 ? 'spoiled' : 'noDatabase' }
  if (ltxFiles.length === 0) return { outcome: 'different', reason: 'it has content but no LTX files' }

  const rebuilt = path.join(work, 'rebuilt')
  const failure = await rebuild(ltxFiles, rebuilt)
  if (failure !== undefined) return { outcome: 'different', reason: failure }
  const difference = firstDifference(current, rebuilt)
  if (difference === undefined) return { outcome: 'equal' }
  if (isFilled(path.join(directory, 'journal')) && firstDifference(database, rebuilt) === undefined) {
    return { outcome: 'hot' }
  }
  return { outcome: 'different', reason: difference }
}

/** The last LTX file of a database that was removed says so. */
async function gone(ltxFiles, work) {
  if (ltxFiles.length === 0) return { outcome: 'dropped' }
  const rebuilt = path.join(work, 'rebuilt')
  const failure = await rebuild(ltxFiles, rebuilt)
  if (failure !== undefined) return { outcome: 'different', reason: failure }
  if (!isFilled(rebuilt)) return { outcome: 'dropped' }
  return { outcome: 'different', reason: 'it is gone, but not for its LTX files' }
}

/** Makes the database of the LTX files. Gives the reason where they make none. */
async function rebuild(ltxFiles, target) {
  try {
    await rebuildDatabase(target, ltxFiles)
    return undefined
  } catch (error) {
    return error.message
  }
}

/** Copies a database and lets SQLite end there what was under way. Gives what SQLite says if it cannot. */
async function settledCopy(directory, target) {
  await copyFile(path.join(directory, 'database'), target, constants.COPYFILE_FICLONE)
  const sideFiles = ['journal', 'wal'].filter((name) => isFilled(path.join(directory, name)))
  if (sideFiles.length === 0 || readHeader(target) === undefined) return undefined
  for (const name of sideFiles) await copyFile(path.join(directory, name), `${target}-${name}`)
  const sql = 'SELECT count(*) FROM sqlite_schema; PRAGMA wal_checkpoint(TRUNCATE);'
  const { code, output } = await run('sqlite3', ['-batch', target, sql])
  // A schema that a suite broke on purpose is found out after the journal or the WAL was dealt with.
  return code === 0 || /malformed|not a database/.test(output) ? undefined : `SQLite cannot read it: ${output.trim()}`
}

function isFilled(file) {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0
}

/** Page size, and bytes of the pages that the header counts or of the file where its count does not hold. */
function readHeader(file) {
  const bytes = Buffer.alloc(HEADER_SIZE)
  if (readAt(file, bytes, 0) < HEADER_SIZE || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined
  const stored = bytes.readUInt16BE(PAGE_SIZE_OFFSET)
  const pageSize = stored === 1 ? 65536 : stored
  const pageCount = bytes.readUInt32BE(PAGE_COUNT_OFFSET)
  const holds = bytes.readUInt32BE(CHANGE_COUNTER_OFFSET) === bytes.readUInt32BE(VALID_FOR_OFFSET)
  return { pageSize, countedSize: holds && pageCount > 0 ? pageCount * pageSize : statSync(file).size }
}

function isDatabase(file) {
  const header = readHeader(file)
  if (header === undefined) return false
  const { pageSize, countedSize } = header
  const { size } = statSync(file)
  const isPageSize = pageSize >= SMALLEST_PAGE && (pageSize & (pageSize - 1)) === 0
  return isPageSize && size % pageSize === 0 && size >= countedSize
}

/** SQLite may let a file grow in chunks, and does not look at what lies behind the pages that the header counts. */
function firstDifference(current, rebuilt) {
  const [size, rebuiltSize] = [current, rebuilt].map((file) => readHeader(file)?.countedSize ?? statSync(file).size)
  if (size !== rebuiltSize) return `it has ${size} bytes, made from LTX files ${rebuiltSize}`
  const ours = Buffer.alloc(CHUNK_SIZE)
  const theirs = Buffer.alloc(CHUNK_SIZE)
  for (let start = 0; start < size; start += CHUNK_SIZE) {
    const length = Math.min(CHUNK_SIZE, size - start)
    readAt(current, ours.subarray(0, length), start)
    readAt(rebuilt, theirs.subarray(0, length), start)
    if (ours.equals(theirs)) continue
    const at = ours.findIndex((byte, index) => byte !== theirs[index])
    return `byte ${start + at} of ${size} is ${ours[at]}, made from LTX files ${theirs[at]}`
  }
  return undefined
}

/** Fills `into` from an offset of a file, with zeros behind its end; gives how much there was. */
function readAt(file, into, offset) {
  const fd = openSync(file)
  try {
    const count = readSync(fd, into, 0, into.length, offset)
    into.fill(0, count)
    return count
  } finally {
    closeSync(fd)
  }
}
