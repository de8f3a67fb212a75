// What says that a database is right: the sqlite3 shell, and a checksum of our own that shares no code with src/.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { listLtxDirectory } from '../../src/db/ltx-directory.js'
import { rebuildDatabase } from '../../src/db/ltx-rebuild.js'
import { run } from './harness.js'

const PENDING_BYTE = 0x40000000 // sqlite3.c; its page is never part of a checksum
const PAGE_SIZE_OFFSET = 16 // fileformat2.html, 1.3; the value 1 means 65536

/** Runs SQL in the sqlite3 shell on a database and gives what it printed. */
export async function sqlite(databasePath: string, sql: string): Promise<string> {
  const { code, stdout, stderr } = await run('sqlite3', ['-bail', '-batch', '-cmd', '.timeout 10000', databasePath], {
    input: `${sql}\n`,
  })
  if (code !== 0) throw new Error(`Cannot run SQL on ${databasePath}: ${stderr}`)
  return stdout
}

/** A hash over the schema and every row of a database, the same for equal content whatever the file looks like. */
export async function contentHash(databasePath: string): Promise<string> {
  const hash = (await sqlite(databasePath, '.sha3sum --schema --sha3-256')).trim()
  assert.match(hash, /^[0-9a-f]{64}$/)
  return hash
}

/** What contentHash and integrityCheck give, in one process. */
export async function inspect(databasePath: string): Promise<{ hash: string; integrity: string }> {
  const printed = await sqlite(databasePath, 'PRAGMA integrity_check;\n.sha3sum --schema --sha3-256')
  const [, integrity = printed, hash = ''] = /^(.*)\n([0-9a-f]{64})\s*$/s.exec(printed) ?? []
  return { hash, integrity }
}

/** `ok`, or what SQLite found wrong. */
export async function integrityCheck(databasePath: string): Promise<string> {
  return (await sqlite(databasePath, 'PRAGMA integrity_check;')).trim()
}

/** The LTX files of a database by its path in the mount: those of `a/b/my.db` are in `dirs/a/dirs/b/dbs/my.db/ltx`. */
export function ltxDirOf(dataDir: string, name: string): string {
  const parents = name.split('/')
  const last = parents.pop() ?? ''
  return path.join(dataDir, ...parents.flatMap((parent) => ['dirs', parent]), 'dbs', last, 'ltx')
}

/** Rebuilds a database from its LTX files alone, into a file beside the data directory, and gives its path. */
export async function rebuildFromLtx(dataDir: string, name: string): Promise<string> {
  const outputPath = path.join(path.dirname(dataDir), `rebuilt-${process.hrtime.bigint()}-${path.basename(name)}`)
  const files = listLtxDirectory(ltxDirOf(dataDir, name)).map(({ path }) => path)
  await rebuildDatabase(outputPath, files)
  return outputPath
}

/** What NAME-pos says: TXID and checksum, 16 hex digits each. */
export async function positionOf(dir: string, name: string): Promise<{ txid: string; checksum: string }> {
  const position = await readFile(path.join(dir, `${name}-pos`), 'latin1')
  const [, txid, checksum] = /^([0-9a-f]{16})\/([0-9a-f]{16})\n$/.exec(position) ?? []
  if (txid === undefined || checksum === undefined) throw new Error(`Cannot read position of ${name}: ${position}`)
  return { txid, checksum }
}

/** The LTX checksum of a database file as it lies there, 16 hex digits. A WAL beside it is not looked at. */
export async function checksumFromScratch(databasePath: string): Promise<string> {
  const file = await readFile(databasePath)
  const stored = file.length === 0 ? 1 : file.readUInt16BE(PAGE_SIZE_OFFSET)
  const pageSize = stored === 1 ? 65536 : stored
  assert.equal(file.length % pageSize, 0, `${databasePath} is made of whole pages`)
  const pages = Array.from({ length: file.length / pageSize }, (_, index) => ({
    pgno: index + 1,
    data: file.subarray(index * pageSize, (index + 1) * pageSize),
  }))
  return checksumOf(pages, pageSize)
}

const serializeScript = `
  const [library, source, target] = process.argv.slice(1)
  const db = require(library)(source, { fileMustExist: true, timeout: 10000 })
  require('node:fs').writeFileSync(target, db.serialize())
  db.close()`

/** The LTX checksum of a database as a SQLite reader sees it now, its WAL included (better-sqlite3 in a child). */
export async function checksumAsRead(databasePath: string): Promise<string> {
  const copyDir = await mkdtemp(path.join(os.tmpdir(), 'litefs-judge-'))
  const copyPath = path.join(copyDir, 'copy.db')
  const library = createRequire(import.meta.url).resolve('better-sqlite3')
  try {
    const { code, stderr } = await run(process.execPath, ['-e', serializeScript, library, databasePath, copyPath])
    if (code !== 0) throw new Error(`Cannot read ${databasePath}: ${stderr}`)
    return await checksumFromScratch(copyPath)
  } finally {
    await rm(copyDir, { recursive: true })
  }
}

/** `1<<63 | XOR of crc64iso(u32be(pgno) ‖ page)`, the lock page left out. */
function checksumOf(pages: { pgno: number; data: Buffer }[], pageSize: number): string {
  let high = 0
  let low = 0
  const zeros = Buffer.alloc(pageSize)
  const overZeros = crcOverZeros(pageSize)
  for (const { pgno, data } of pages) {
    if (pgno === PENDING_BYTE / pageSize + 1) continue
    const number = Buffer.alloc(4)
    number.writeUInt32BE(pgno)
    const crc = data.equals(zeros) ? complement(overZeros(crc64Iso([number]))) : crc64Iso([number, data])
    high ^= crc.high
    low ^= crc.low
  }
  return hex32(high | 0x80000000) + hex32(low)
}

/** What a byte makes of a CRC: the upper and the lower half for each. */
const tableHigh = new Int32Array(256)
const tableLow = new Int32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let high = 0
  let low = byte
  for (let bit = 0; bit < 8; bit++) {
    const carry = low & 1
    low = (low >>> 1) | (high << 31)
    high = (high >>> 1) ^ (carry === 1 ? 0xd8000000 : 0)
  }
  tableHigh[byte] = high
  tableLow[byte] = low
}

/** CRC-64/ISO (Go's crc64.ISO: reflected polynomial 0xD800000000000000, initial value and final XOR all ones). */
export function crc64Iso(parts: Uint8Array[]): Crc {
  let crc: Crc = { high: -1, low: -1 }
  for (const part of parts) crc = crcOf(crc, part)
  return complement(crc)
}

/** A CRC that is not finished, after more bytes. */
function crcOf({ high, low }: Crc, bytes: Uint8Array): Crc {
  for (let at = 0; at < bytes.length; at++) {
    // An index of a byte is in the table: asking is most of the time.
    const index = (low ^ (bytes[at] as number)) & 0xff
    low = ((low >>> 8) | (high << 24)) ^ (tableLow[index] as number)
    high = (high >>> 8) ^ (tableHigh[index] as number)
  }
  return { high, low }
}

interface Crc {
  high: number
  low: number
}

/** What `length` bytes of zeros make of a finished CRC, not finished again: it is linear in the 64 bits, so one column for each will do. */
function crcOverZeros(length: number): (crc: Crc) => Crc {
  const zeros = Buffer.alloc(length)
  const columns: Crc[] = []
  for (let bit = 0; bit < 64; bit++) {
    const one = { high: bit < 32 ? 0 : 1 << (bit - 32), low: bit < 32 ? 1 << bit : 0 }
    columns.push(crcOf(one, zeros))
  }
  return (crc) => {
    const state = complement(crc)
    const sum = { high: 0, low: 0 }
    for (const [bit, column] of columns.entries()) {
      if ((((bit < 32 ? state.low : state.high) >>> (bit & 31)) & 1) === 0) continue
      sum.high ^= column.high
      sum.low ^= column.low
    }
    return sum
  }
}

function complement({ high, low }: Crc): Crc {
  return { high: ~high >>> 0, low: ~low >>> 0 }
}

function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0')
}
