// What is fuzzed. Each target takes any bytes, and returns or throws one of its documented errors; anything else is a bug.
import assert from 'node:assert/strict'
import os from 'node:os'
import { rangeOf } from '../../dist/backup/replica-layout.js'
import { parseLitestreamConfig } from '../../dist/config/litestream-load.js'
import { parseConfig } from '../../dist/config/load.js'
import { ConfigError } from '../../dist/config/problems.js'
import { CommandLineError, splitWords } from '../../dist/config/words.js'
import { FuseError } from '../../dist/fuse/errno.js'
import { Session } from '../../dist/fuse/session.js'
import { parseEpoch } from '../../dist/http/stream-headers.js'
import { LtxDecoder } from '../../dist/ltx/decoder.js'
import { encodeFile } from '../../dist/ltx/encode-file.js'
import { LtxError } from '../../dist/ltx/error.js'
import { LtxMerge } from '../../dist/ltx/merge.js'
import { parseLtxName, parsePosition, parseTxid } from '../../dist/ltx/names.js'
import { kindOf, originForm } from '../../dist/proxy/rules.js'
import { TxidHeaderError, wantedTxids } from '../../dist/proxy/txids.js'
import { checkDatabaseName } from '../../dist/replication/database-name.js'
import { ProtocolError } from '../../dist/replication/error.js'
import { FrameDecoder } from '../../dist/replication/frame-decoder.js'
import { decodeHaltLock, parseHaltId } from '../../dist/replication/halt-lock.js'
import { IncomingFile } from '../../dist/replication/incoming-file.js'
import { decodePositionMap, encodePositionMap } from '../../dist/replication/position-map.js'
import { databasePageCount, parseDatabaseHeader } from '../../dist/sqlite/database-header.js'
import { journalRecords, readJournalHeader, superJournalName } from '../../dist/sqlite/journal.js'
import {
  chainFrame,
  encodeWalHeader,
  FRAME_HEADER_SIZE,
  parseWalHeader,
  WAL_HEADER_SIZE,
} from '../../dist/sqlite/wal.js'
import { parseWalIndexHeader } from '../../dist/sqlite/wal-index.js'
import { firstCursor, lastFrames, walTransactions } from '../../dist/sqlite/wal-scan.js'

/** Pieces in which decoders get what could arrive cut anywhere, bytes. */
const PIECE = 7
const DATABASES = ['my.db', 'dir/other.db']

/** @typedef {{ name: string, errors: (new (...args: any[]) => Error)[], run: (input: Buffer) => void, words?: string[] }} Target */

/** @type {Target[]} */
export const targets = [
  { name: 'ltx', errors: [LtxError], run: ltx },
  { name: 'ltx-merge', errors: [LtxError], run: ltxMerge },
  { name: 'tx-body', errors: [LtxError, ProtocolError], run: txBody },
  { name: 'journal', errors: [], run: journal },
  { name: 'wal', errors: [], run: wal },
  { name: 'wal-index', errors: [], run: (input) => assert.equal(typeof parseWalIndexHeader(input).valid, 'boolean') },
  { name: 'database-header', errors: [], run: databaseHeader },
  { name: 'stream', errors: [ProtocolError], run: stream },
  { name: 'position-map', errors: [ProtocolError], run: positionMap },
  { name: 'fuse', errors: [], run: fuse },
  {
    name: 'config',
    errors: [ConfigError],
    run: (input) => void parseConfig(input.toString(), 'litefs.yml', { HOME: '/x', EMPTY: '' }),
    words: [
      'data:',
      'fuse:\n  dir: /m',
      'lease:',
      'type: ',
      'exec:\n  - cmd: ',
      '$HOME',
      '$EMPTY',
      '*a',
      '&a',
      '<<: ',
      '"',
      '1h',
      '10MB',
      '!!int',
    ],
  },
  {
    name: 'litestream-config',
    errors: [ConfigError],
    run: (input) => void parseLitestreamConfig(input.toString(), 'litestream.yml', { HOME: '/x' }),
    words: [
      'dbs:\n  - path: /a\n',
      'replica:',
      'replicas:',
      'url: s3://b/p',
      'levels:',
      '- interval: 5m',
      'addr: ":9090"',
      '$HOME',
    ],
  },
  {
    name: 'command-line',
    errors: [CommandLineError],
    run: (input) => void splitWords(input.toString()),
    words: ["'", '"', '\\', '`', '('],
  },
  { name: 'names', errors: [LtxError, ProtocolError], run: names, words: ['0000000000000001', '.ltx', '-', '/', '..'] },
  {
    name: 'halt',
    errors: [ProtocolError],
    run: halt,
    words: ['"id":', '"pos":', '"TXID":', '"expires":', '9223372036854775807'],
  },
  {
    name: 'txids',
    errors: [TxidHeaderError],
    run: txids,
    words: ['__txid=', 'my.db/', '0000000000000001', '%', ';', '|', ',', '"'],
  },
  { name: 'proxy-paths', errors: [], run: proxyPaths, words: ['*', '/', '//', '?', 'http://', '%2f', '..'] },
]

function ltx(input) {
  const whole = readLtx(input, input.length)
  const pieces = readLtx(input, PIECE)
  // How the bytes arrive must not matter.
  assert.deepEqual(pieces.pages, whole.pages)
  assert.equal(pieces.error?.message, whole.error?.message)
  if (whole.error !== undefined) throw whole.error
}

function readLtx(input, most) {
  const pages = []
  try {
    for (const { pgno, data } of new LtxDecoder(sourceOf(input, most)).pages())
      pages.push([pgno, data.length, data[0], data.at(-1)])
    return { pages }
  } catch (error) {
    return { pages, error }
  }
}

/** Two files with a length before the first, merged and written again: what is written must be readable. */
function ltxMerge(input) {
  const length = input.length < 2 ? 0 : input.readUInt16BE(0)
  const files = [input.subarray(2, 2 + length), input.subarray(2 + length)]
  const merge = new LtxMerge(files.map((file) => new LtxDecoder(sourceOf(file, file.length))))
  const written = Buffer.concat([...encodeFile(merge, { version: 3, compress: true })])
  const { error } = readLtx(written, written.length)
  assert.equal(error, undefined)
}

function txBody(input) {
  const file = new IncomingFile('my.db', { directory: os.tmpdir(), memoryBytes: 1 << 20 })
  try {
    for (let at = 0; at < input.length; at += 100) file.write(input.subarray(at, at + 100))
    return file.verified()
  } finally {
    file.discard()
  }
}

function journal(input) {
  const readAt = readAtOf(input)
  for (const pageSize of [0, 512]) {
    readJournalHeader(readAt, input.length, pageSize)
    let bytes = 0
    for (const { data } of journalRecords(readAt, input.length, pageSize)) bytes += data.length
    assert(bytes <= input.length, 'more pages than the journal has bytes')
  }
  superJournalName(readAt, input.length)
}

/** As it is, and with all checksums made right, which no mutation would find. */
function wal(input) {
  scanWal(input)
  const sealed = sealedWal(input)
  if (sealed !== undefined) scanWal(sealed)
}

function scanWal(log) {
  const header = parseWalHeader(log)
  if (header === undefined) return
  for (const transaction of walTransactions(header, firstCursor(header), readAtOf(log))) {
    assert(lastFrames(transaction).length <= transaction.pgnos.length, 'more pages than frames')
  }
}

function sealedWal(input) {
  if (input.length < WAL_HEADER_SIZE) return undefined
  const fields = {
    bigEndian: (input[3] ?? 0) % 2 === 1,
    pageSize: 512,
    sequence: input.readUInt32BE(12),
    salt1: 1,
    salt2: 2,
  }
  const log = Buffer.concat([encodeWalHeader(fields), input.subarray(WAL_HEADER_SIZE)])
  const header = parseWalHeader(log)
  if (header === undefined) return undefined
  const state = new Uint32Array([header.s1, header.s2])
  const size = FRAME_HEADER_SIZE + header.pageSize
  for (let at = WAL_HEADER_SIZE; at + size <= log.length; at += size) {
    log.writeUInt32BE(header.salt1, at + 8)
    log.writeUInt32BE(header.salt2, at + 12)
    chainFrame(state, header, log, at)
    log.writeUInt32BE(state[0], at + 16)
    log.writeUInt32BE(state[1], at + 20)
  }
  return log
}

function databaseHeader(input) {
  const header = parseDatabaseHeader(input)
  if (header !== undefined) assert(Number.isSafeInteger(databasePageCount(header, input.length)))
}

function stream(input) {
  const whole = decodeStream(input, Math.max(1, input.length))
  const pieces = decodeStream(input, PIECE)
  assert.deepEqual(pieces.kinds, whole.kinds)
  assert.equal(pieces.bytes, whole.bytes)
  if (whole.error !== undefined) throw whole.error
}

function decodeStream(input, size) {
  const decoder = new FrameDecoder()
  const kinds = []
  let bytes = 0
  try {
    for (let at = 0; at < input.length; at += size) {
      for (const item of decoder.push(input.subarray(at, at + size))) {
        if (item.type === 'data') bytes += item.bytes.length
        else kinds.push(item.type)
      }
    }
    return { kinds, bytes }
  } catch (error) {
    return { kinds, bytes, error }
  }
}

function positionMap(input) {
  const positions = decodePositionMap(input)
  assert.deepEqual(new Map(decodePositionMap(encodePositionMap(positions))), new Map(positions))
}

/** Every operation ends with an error of a file system that has nothing; the replies must be well formed. */
const emptyFileSystem = new Proxy(
  {},
  {
    get: () => () => {
      throw new FuseError('ENOENT')
    },
  },
)
const session = new Session(emptyFileSystem, {
  forwardLocks: true,
  send: () => assert.fail('nothing is answered late'),
  onError: () => {}, // it is answered with an error
  notify: () => false,
  trace: undefined,
})

function fuse(input) {
  if (input.length < 40) return
  session.request.set(input)
  const written = session.handle(input.length)
  if (written === 0) return
  const replies = Buffer.from(session.reply.buffer)
  assert.equal(replies.readUInt32LE(0), written)
  assert(replies.readInt32LE(4) <= 0 && replies.readInt32LE(4) > -512)
  assert.equal(replies.readBigUInt64LE(8), input.readBigUInt64LE(8))
}

function names(input) {
  const text = input.toString()
  parseLtxName(text)
  rangeOf(0, text)
  const errors = [parseTxid, parsePosition, checkDatabaseName].map((parse) => thrown(() => parse(text)))
  for (const error of errors)
    if (error !== undefined && !(error instanceof LtxError || error instanceof ProtocolError)) throw error
}

function halt(input) {
  const text = input.toString()
  const id = parseHaltId(text)
  assert(id === undefined || (id > 0n && id < 1n << 63n))
  parseEpoch(text)
  decodeHaltLock(text)
}

/** A cookie header, and after the first NUL the header of positions. */
function txids(input) {
  const [cookies, header] = input.toString().split('\0')
  for (const [name, txid] of wantedTxids(cookies, header, DATABASES)) assert(DATABASES.includes(name) && txid > 0n)
}

/** A pattern, and after the first newline the target of a request. */
function proxyPaths(input) {
  const [pattern = '', target = ''] = input.toString('latin1').split('\n')
  kindOf('GET', target, { passthrough: [pattern], alwaysForward: [pattern] })
  originForm(target, 'host')
}

function thrown(work) {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}

function sourceOf(bytes, most) {
  let at = 0
  return {
    read(into) {
      const size = Math.min(into.length, bytes.length - at, most)
      into.set(bytes.subarray(at, at + size))
      at += size
      return size
    },
  }
}

function readAtOf(bytes) {
  return (into, offset) => {
    const part = bytes.subarray(offset, offset + into.length)
    into.set(part)
    return part.length
  }
}
