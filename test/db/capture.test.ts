import fs from 'node:fs'
import path from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { listLtxDirectory } from '../../src/db/ltx-directory.js'
import { withLtxFile } from '../../src/db/ltx-file.js'
import { FRAME_HEADER_SIZE } from '../../src/sqlite/wal.js'
import { checksumFromScratch } from '../system/judges.js'
import { hash, judge, milestones, testDirectory } from './crash-points.js'
import { again, commits, stateOf } from './replays.js'
import { type Call, loadTrace, TracedNode } from './traced-writes.js'

const WAL_TRACES = ['wal-full', 'wal-psow', 'wal-exclusive', 'modes', 'drop']
const JOURNAL_TRACES = ['delete', 'truncate', 'persist', 'modes', 'super']
/** Bytes of a page of the kernel's cache, at whose ends it cuts writes. */
const CACHE_PAGE_SIZE = 4096

type Write = Extract<Call, [handle: 'write', ...unknown[]]>

/** Writes in other pieces than SQLite made. Each keeps to one run of writes to the WAL that follow each other in the file. */
const SHAPES: Record<string, (writes: Write[]) => Write[]> = {
  'frame by frame': (writes) => inPieces(writes, (at, end) => end - at).reduce(joinPairs, []),
  'cut at the pages of the cache': (writes) => inPieces(writes, (at) => CACHE_PAGE_SIZE - (at % CACHE_PAGE_SIZE)),
  'in one write': (writes) => [joined(writes)],
  'in pieces of 100 bytes': (writes) => inPieces([joined(writes)], () => 100),
  'headers after the pages': (writes) => [
    ...writes.filter((write) => byteLength(write) !== FRAME_HEADER_SIZE),
    ...writes.filter((write) => byteLength(write) === FRAME_HEADER_SIZE),
  ],
}

function byteLength(write: Write): number {
  return Buffer.from(write[3], 'base64').length
}

function joined(writes: Write[]): Write {
  const bytes = Buffer.concat(writes.map((write) => Buffer.from(write[3], 'base64')))
  const first = writes[0]
  if (first === undefined) throw new Error('no writes')
  return ['write', first[1], first[2], bytes.toString('base64')]
}

function joinPairs(done: Write[], write: Write, index: number, all: Write[]): Write[] {
  const next = all[index + 1]
  if (index % 2 === 1) return done
  return [...done, next === undefined ? write : joined([write, next])]
}

/** `length(at, end, start)` gives the bytes of the next piece of a write from `start` to `end`. */
function inPieces(writes: Write[], length: (at: number, end: number, start: number) => number): Write[] {
  return writes.flatMap(([, handle, offset, base64]) => {
    const bytes = Buffer.from(base64, 'base64')
    const end = offset + bytes.length
    const pieces: Write[] = []
    for (let at = offset; at < end; ) {
      const next = Math.min(end, at + length(at, end, offset))
      pieces.push(['write', handle, at, bytes.subarray(at - offset, next - offset).toString('base64')])
      at = next
    }
    return pieces
  })
}

/** The calls with every run of consecutive writes to a WAL reshaped. */
function reshaped(calls: readonly Call[], shape: (writes: Write[]) => Write[]): Call[] {
  const wals = new Set(calls.flatMap((call) => (call[0] === 'open' && call[2].endsWith('-wal') ? [call[1]] : [])))
  const result: Call[] = []
  let run: Write[] = []
  for (const call of calls) {
    const last = run.at(-1)
    const end = last === undefined ? -1 : last[2] + Buffer.from(last[3], 'base64').length
    const continues = call[0] === 'write' && wals.has(call[1]) && (run.length === 0 || call[2] === end)
    if (!continues && run.length > 0) {
      result.push(...shape(run))
      run = []
    }
    if (call[0] === 'write' && wals.has(call[1])) run.push(call)
    else result.push(call)
  }
  return result
}

/** Positions at each acknowledgement. */
function positions(node: TracedNode, calls: readonly Call[]): string[] {
  return calls.flatMap((call) => {
    node.do(call)
    if (call[0] !== 'ack') return []
    return [stateOf(node)]
  })
}

async function playedTo(t: Test, dir: string, name: string, calls: readonly Call[]): Promise<string[]> {
  const node = await TracedNode.open(path.join(dir, name))
  const found = positions(node, calls)
  await node.close()
  const wanted = milestones(path.join(dir, `${name}.plain`), calls).slice(-1)
  // What is left in a WAL belongs to the content; after a start it is in the database.
  const restarted = await TracedNode.open(path.join(dir, name))
  await restarted.close()
  await judge(t, restarted, wanted, name)
  return found
}

t.test('a WAL is captured alike in whatever pieces it is written', async (t) => {
  const dir = testDirectory(t)
  for (const trace of WAL_TRACES) {
    const calls = loadTrace(trace)
    const wanted = await playedTo(t, dir, trace, calls)
    for (const [title, shape] of Object.entries(SHAPES)) {
      t.same(await playedTo(t, dir, `${trace} ${title}`, reshaped(calls, shape)), wanted, `${trace} ${title}`)
    }
  }
})

t.test('a transaction that cannot be stored fails, and done again it succeeds', async (t) => {
  const dir = testDirectory(t)
  for (const trace of new Set([...WAL_TRACES, ...JOURNAL_TRACES])) {
    const calls = loadTrace(trace)
    const ends = await commits(path.join(dir, `${trace}.commits`), calls)
    t.ok(ends.size > 3, trace)
    const node = await TracedNode.open(path.join(dir, trace))
    const wanted = await playedTo(t, dir, `${trace}.undisturbed`, calls)
    const found: string[] = []
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
    for (const [index, call] of calls.entries()) {
      const begin = ends.get(index)
      if (begin !== undefined) {
        const before = stateOf(node)
        node.failWith = full
        t.throws(() => node.do(call), full, `${trace} ${index}`)
        node.failWith = undefined
        t.equal(stateOf(node), before, 'nothing changed')
        for (const past of again(calls, begin, index)) node.do(past)
      }
      node.do(call)
      if (call[0] === 'ack') found.push(stateOf(node))
    }
    t.same(found, wanted, trace)
    await node.close()
  }
})

t.test('a write to a backing file that fails after the capture takes the transaction back', async (t) => {
  const dir = testDirectory(t)
  const calls = loadTrace('wal-full')
  const ends = await commits(path.join(dir, 'commits'), calls)
  const wanted = await playedTo(t, dir, 'undisturbed', calls)
  const node = await TracedNode.open(path.join(dir, 'data'))
  const found: string[] = []
  for (const [index, call] of calls.entries()) {
    const begin = ends.get(index)
    if (begin !== undefined && call[0] === 'write') {
      const before = stateOf(node)
      failing(() => t.throws(() => node.do(call), { code: 'EIO' }, `call ${index}`))
      t.equal(stateOf(node), before, 'taken back')
      for (const past of again(calls, begin, index)) node.do(past)
    }
    node.do(call)
    if (call[0] === 'ack') found.push(stateOf(node))
  }
  t.same(found, wanted)
  await node.close()
})

t.test(
  'a journaled transaction ends although the database file takes no write: its pages wait in memory',
  async (t) => {
    const dir = testDirectory(t)
    for (const trace of ['persist', 'truncate', 'delete']) {
      const calls = loadTrace(trace)
      const ends = await commits(path.join(dir, `${trace}.commits`), calls)
      const wanted = await playedTo(t, dir, `${trace}.undisturbed`, calls)
      const node = await TracedNode.open(path.join(dir, trace))
      const found: string[] = []
      let refused = 0
      for (const [index, call] of calls.entries()) {
        const waiting = [...node.databases.values()].some(({ files }) => files.stagedBytes > 0 && node.unwritten > 0)
        let done = false
        if (ends.has(index) || (waiting && call[0] === 'write')) {
          const before = stateOf(node)
          failing(() => {
            try {
              node.do(call)
              done = true
            } catch (error) {
              t.match(error, { code: 'EIO' })
              t.equal(stateOf(node), before, 'nothing changed')
              refused++
            }
          })
        }
        if (!done) node.do(call)
        if (call[0] === 'ack') found.push(stateOf(node))
      }
      t.same(found, wanted, trace)
      t.ok(node.unwritten > 3, `${node.unwritten} transactions waited`)
      t.ok(refused > 0, `${refused} writes were refused meanwhile`)
      await node.close()
      for (const { layout, state } of node.databases.values()) {
        if (!fs.existsSync(layout.database)) continue
        t.equal(await checksumFromScratch(layout.database), state.checksum.toString(16), 'the database file has them')
      }
    }
  },
)

/** Runs `use` while no file but the LTX log can be changed. */
function failing(use: () => void): void {
  const { writeSync, ftruncateSync, unlinkSync } = fs
  const eio = () => {
    throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
  }
  const isLog = (fd: number) => fs.readlinkSync(`/proc/self/fd/${fd}`).includes('/ltxlog/')
  const write = (fd: number, data: Uint8Array, start: number, length: number, at: number) =>
    isLog(fd) ? writeSync(fd, data, start, length, at) : eio()
  Object.assign(fs, { writeSync: write, ftruncateSync: eio, unlinkSync: eio })
  try {
    use()
  } finally {
    Object.assign(fs, { writeSync, ftruncateSync, unlinkSync })
  }
}

/** A database in WAL mode of whose next transaction there are two versions, by two writers that did not see each other. */
function rivals(dir: string, first: string, second: string): { base: string; wals: Buffer[]; contents: Buffer[] } {
  const base = path.join(dir, 'base')
  fs.mkdirSync(base)
  const sqlite = new Sqlite(path.join(base, 'a.db'))
  sqlite.exec('PRAGMA page_size=512; PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b)')
  const wals = [fs.readFileSync(path.join(base, 'a.db-wal'))]
  const contents = [sqlite.serialize()]
  for (const [index, sql] of [first, second].entries()) {
    const copy = path.join(dir, `rival-${index}`)
    fs.cpSync(base, copy, { recursive: true })
    fs.rmSync(path.join(copy, 'a.db-shm'))
    const rival = new Sqlite(path.join(copy, 'a.db'))
    rival.exec(`PRAGMA wal_autocheckpoint=0; ${sql}`)
    wals.push(fs.readFileSync(path.join(copy, 'a.db-wal')))
    contents.push(rival.serialize())
    rival.close()
  }
  fs.copyFileSync(path.join(base, 'a.db'), path.join(dir, 'start'))
  sqlite.close()
  return { base: path.join(dir, 'start'), wals, contents }
}

const SMALL = "INSERT INTO t VALUES(1, 'small')"
const LARGE = 'INSERT INTO t VALUES(2, zeroblob(3000))'

t.test('a transaction whose frames are overwritten never happened', async (t) => {
  for (const [first, second] of [
    [SMALL, LARGE],
    [LARGE, SMALL],
    [SMALL, SMALL.replace('small', 'other')],
  ] as const) {
    const dir = testDirectory(t)
    const { base, wals, contents } = rivals(dir, first, second)
    const [common = Buffer.alloc(0), one = Buffer.alloc(0), two = Buffer.alloc(0)] = wals
    const node = await TracedNode.open(path.join(dir, 'data'))
    const database = node.database('a.db')
    const file = database.files.create('database')
    database.write('database', file, fs.readFileSync(base), 0)
    database.files.release('database', file)
    database.closed('database')
    const wal = database.files.create('wal')
    database.write('wal', wal, common.subarray(0, 32), 0)
    database.write('wal', wal, common.subarray(32), 32)
    const before = database.state.txid
    t.ok(database.provisional)
    frames(one, common.length, (bytes, offset) => database.write('wal', wal, bytes, offset))
    t.equal(database.state.txid, before + 1n)
    t.equal(database.position.txid, before, 'not before it is visible')
    await node.log.settle()
    frames(two, common.length, (bytes, offset) => database.write('wal', wal, bytes, offset))
    t.equal(database.state.txid, before + 1n, 'the other one has its TXID')
    await node.close()
    const restarted = await TracedNode.open(node.dataDir)
    await restarted.close()
    const wanted = new Map([['a.db', hash(contents[2] ?? Buffer.alloc(0))]])
    await judge(t, restarted, [{ call: 0, acknowledged: true, contents: wanted }], 'the second one')
  }
})

function frames(wal: Buffer, from: number, write: (bytes: Buffer, offset: number) => void): void {
  for (let at = from; at < wal.length; at += 24 + 512) {
    write(wal.subarray(at, at + 24), at)
    write(wal.subarray(at + 24, at + 24 + 512), at + 24)
  }
}

t.test('one write that holds a whole WAL', async (t) => {
  const dir = testDirectory(t)
  const { base, wals, contents } = rivals(dir, LARGE, SMALL)
  const node = await TracedNode.open(path.join(dir, 'data'))
  const database = node.database('a.db')
  const file = database.files.create('database')
  database.write('database', file, fs.readFileSync(base), 0)
  database.files.release('database', file)
  database.closed('database')
  const wal = database.files.create('wal')
  database.write('wal', wal, wals[1] ?? Buffer.alloc(0), 0)
  t.equal(database.state.txid, 3n, 'two transactions after the database file')
  await node.close()
  t.equal(listLtxDirectory(database.layout.ltxDir).length, 3)
  const last = listLtxDirectory(database.layout.ltxDir).at(-1)?.path ?? ''
  withLtxFile(last, { verifyPostApply: false }, (decoder) => {
    for (const { pgno, data } of decoder.pages()) {
      const wanted = contents[1]?.subarray((pgno - 1) * 512, pgno * 512)
      t.ok(wanted !== undefined && Buffer.from(data).equals(wanted), `page ${pgno}`)
    }
  })
})
