import fs from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { LtxSpool, MEMORY_LIMIT } from '../../src/db/ltx-spool.js'
import { LtxLog } from '../../src/store/ltx-log.js'
import { decodeRecord, encodeRecord, recordSize, retiredThrough } from '../../src/store/ltx-log-record.js'
import { replayLtxLog } from '../../src/store/ltx-log-replay.js'
import { LogSegment, SEGMENT_SIZE } from '../../src/store/ltx-log-segment.js'
import { testDirectory } from '../db/crash-points.js'
import { randomNumbers } from '../sqlite/bytes.js'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const unwatched = { stored() {}, undone() {}, durable() {}, isPrompt: false }

interface OpenLog {
  readonly dir: string
  readonly log: LtxLog
  file(name: string): string
}

function openLog(dir: string): OpenLog {
  fs.mkdirSync(path.join(dir, 'ltx'), { recursive: true })
  const segments = openSegments(dir)
  const log = new LtxLog(dir, silent, segments, replayLtxLog(dir, segments), unwatched)
  return { dir, log, file: (name) => path.join(dir, 'ltx', name) }
}

function openSegments(dir: string): readonly [LogSegment, LogSegment] {
  const logDir = path.join(dir, 'ltxlog')
  fs.mkdirSync(logDir, { recursive: true })
  for (const name of ['0', '1']) {
    const file = path.join(logDir, name)
    if (!fs.existsSync(file)) fs.writeFileSync(file, '')
    // Sparse instead of 8 MB of zeros.
    if (fs.statSync(file).size < 8 << 20) fs.truncateSync(file, 8 << 20)
  }
  return [LogSegment.open(path.join(logDir, '0')), LogSegment.open(path.join(logDir, '1'))]
}

/** What a start after a crash makes of the log of `from`, with none of the files it speaks of. */
function replayed(
  t: Test,
  from: string,
  change: (segment: Buffer) => Buffer = (segment) => segment,
): Map<string, string> {
  const dir = testDirectory(t)
  fs.mkdirSync(path.join(dir, 'ltxlog'))
  for (const name of ['0', '1']) {
    const bytes = fs.readFileSync(path.join(from, 'ltxlog', name))
    fs.writeFileSync(path.join(dir, 'ltxlog', name), name === '0' ? change(bytes) : bytes)
  }
  const segments = openSegments(dir)
  replayLtxLog(dir, segments)
  const first = contents(dir)
  replayLtxLog(dir, segments)
  t.same(contents(dir), first, 'done again it does nothing')
  for (const segment of segments) segment.close()
  return first
}

function contents(dir: string): Map<string, string> {
  const ltx = path.join(dir, 'ltx')
  if (!fs.existsSync(ltx)) return new Map()
  return new Map(fs.readdirSync(ltx).map((name) => [name, fs.readFileSync(path.join(ltx, name), 'latin1')]))
}

t.test('the log alone has every file, as it last was', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  log.append(file('a'), Buffer.from('first'))
  log.append(file('b'), Buffer.from('undone'))
  log.undo(file('b'))
  log.append(file('c'), Buffer.from('old'))
  log.undo(file('c'))
  log.sync(log.append(file('c'), Buffer.from('new')))
  const wanted = new Map([
    ['a', 'first'],
    ['c', 'new'],
  ])
  t.same(replayed(t, dir), wanted)
  await log.close()
  t.same(contents(dir), wanted, 'and so has the directory in the end')
  t.same(replayed(t, dir), new Map(), 'what is on disk is not brought back from the log')
})

t.test('what a failed sync has lost is written again before the next one', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  const segment = path.join(dir, 'ltxlog', '0')
  const onDisk = fs.readFileSync(segment)
  const sequence = log.append(file('a'), Buffer.from('first'))
  const { fdatasyncSync } = fs
  const before = fs.readFileSync(segment)
  fs.fdatasyncSync = () => {
    // As the kernel does when it cannot write a page: it reports that once, and the page may go back to what the disk has.
    fs.writeFileSync(segment, onDisk, { flag: 'r+' })
    throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
  }
  t.throws(() => log.sync(sequence), { code: 'EIO' })
  fs.fdatasyncSync = fdatasyncSync
  log.sync(sequence)
  t.ok(fs.readFileSync(segment).includes('first'))
  t.ok(fs.readFileSync(segment).equals(before), 'all of it is there again')
  await log.close()
})

t.test('a file that never happened is none after a crash either, when the log could not be told at once', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  log.append(file('a'), Buffer.from('kept'))
  log.append(file('b'), Buffer.from('failed'))
  const { writeSync } = fs
  Object.assign(fs, {
    writeSync: () => {
      throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
    },
  })
  t.throws(() => log.undo(file('b')), { code: 'EIO' })
  t.throws(() => log.append(file('c'), Buffer.from('too early')), { code: 'EIO' }, 'nothing overtakes it')
  Object.assign(fs, { writeSync })
  log.append(file('c'), Buffer.from('later'))
  t.same([...replayed(t, dir).keys()], ['a', 'c'])
  await log.close()
})

t.test('a file that never happened is noted in the other segment where this one has no room left', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  // The segment begins with the record of a start, and a record's header and path are before its data.
  const room = SEGMENT_SIZE - recordSize('', retiredThrough(0).length) - recordSize('ltx/a', 0)
  log.append(file('a'), Buffer.alloc(room))
  log.undo(file('a'))
  log.sync(log.append(file('b'), Buffer.from('kept')))
  t.same([...replayed(t, dir)], [['b', 'kept']])
  await log.close()
})

t.test('a record that was cut anywhere ends the log before it', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  log.append(file('a'), Buffer.from('kept'))
  const before = fs.readFileSync(path.join(dir, 'ltxlog', '0')).findLastIndex((byte) => byte !== 0)
  const start = Math.ceil((before + 1) / 8) * 8
  log.append(file('b'), Buffer.from('cut off?'))
  const end = fs.readFileSync(path.join(dir, 'ltxlog', '0')).findLastIndex((byte) => byte !== 0) + 1
  t.ok(end > start + 32)
  const all = testDirectory(t)
  fs.mkdirSync(path.join(all, 'ltxlog'))
  fs.copyFileSync(path.join(dir, 'ltxlog', '1'), path.join(all, 'ltxlog', '1'))
  const bytes = fs.readFileSync(path.join(dir, 'ltxlog', '0'))
  for (let cut = start; cut < end; cut++) {
    const torn = Buffer.from(bytes)
    torn.fill(0, cut, end)
    fs.writeFileSync(path.join(all, 'ltxlog', '0'), torn)
    const segments = openSegments(all)
    replayLtxLog(all, segments)
    for (const segment of segments) segment.close()
    if (contents(all).has('b') || contents(all).get('a') !== 'kept') t.fail(`cut at ${cut - start}`)
  }
  t.same([...replayed(t, dir).keys()], ['a', 'b'], 'whole')
  await log.close()
})

t.test('more than both segments hold', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  const data = Buffer.alloc(900_000, 'x')
  for (let i = 0; i < 30; i++) {
    log.append(file(`${i % 7}`), Buffer.concat([Buffer.from(`${i} `), data]))
    if (i % 5 === 4) await log.settle()
  }
  log.append(file('last'), Buffer.from('last'))
  const found = replayed(t, dir)
  t.equal(found.get('last'), 'last')
  await log.close()
  for (let i = 23; i < 30; i++)
    t.ok(
      contents(dir)
        .get(`${i % 7}`)
        ?.startsWith(`${i} `),
      `file ${i}`,
    )
})

t.test('files that cannot be written stay in the log', async (t) => {
  const { dir, log, file } = openLog(testDirectory(t))
  log.sync(log.append(path.join(dir, 'missing', 'a'), Buffer.from('a')))
  await t.rejects(log.settle(), /Cannot write 1 LTX files, .*: ENOENT/)
  log.sync(log.append(file('b'), Buffer.from('b')))
  t.equal(replayed(t, dir).get('b'), 'b')
  await t.rejects(log.close(), /Cannot write .* LTX files/)
  const again = openLog(dir)
  t.equal(fs.readFileSync(path.join(dir, 'missing', 'a'), 'latin1'), 'a', 'the next start makes the directory')
  await again.log.close()
})

t.test('records: what was written is read, anything else is not', async (t) => {
  const random = randomNumbers(11)
  const records = Buffer.concat([
    encodeRecord({ kind: 'ltx', sequence: 2 ** 47, path: 'dbs/ä/ltx/1', data: Buffer.from('data') }),
    encodeRecord({ kind: 'undo', sequence: 2 ** 47 + 1, path: 'dbs/b/ltx/1', data: Buffer.alloc(0) }),
    encodeRecord({ kind: 'retired', sequence: 2 ** 47 + 2, path: '', data: retiredThrough(2 ** 47) }),
  ])
  const first = decodeRecord(records, 0)
  t.match(first?.record, { kind: 'ltx', sequence: 2 ** 47, path: 'dbs/ä/ltx/1' })
  t.equal(Buffer.from(first?.record.data ?? []).toString(), 'data')
  t.equal(decodeRecord(records, first?.next ?? 0)?.record.kind, 'undo')
  let accepted = 0
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(records.subarray(0, random(4) === 0 ? random(records.length) : records.length))
    if (bytes.length === 0) continue
    const at = random(bytes.length)
    const old = bytes[at]
    bytes[at] = random(256)
    const offset = random(2) === 0 ? 0 : random(bytes.length)
    const found = decodeRecord(bytes, offset)
    if (found !== undefined && offset === 0 && at < 46 && bytes[at] !== old) accepted++
    if (found !== undefined && found.next > bytes.length + 8) t.fail('a record past the end')
  }
  t.equal(accepted, 0, 'no damaged record is taken for sound')
})

t.test('a transaction is taken back although the disk takes no more', async (t) => {
  const dir = testDirectory(t)
  fs.mkdirSync(path.join(dir, 'ltx'))
  const segments = openSegments(dir)
  const log = new LtxLog(dir, silent, segments, 0, unwatched)
  const file = path.join(dir, 'ltx', '1.ltx')
  const large = path.join(dir, 'ltx', '2.ltx')
  log.append(file, Buffer.from('one'))
  const [segment] = segments
  const { append } = segment
  segment.append = () => {
    throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' })
  }
  t.throws(() => log.undo(file), { code: 'EIO' })
  const spool = new LtxSpool(path.join(dir, 'ltx'))
  spool.write(Buffer.alloc(MEMORY_LIMIT + 1))
  t.throws(() => spool.store(large, log), { code: 'EIO' })
  segment.append = append
  await log.close()
  t.same(fs.readdirSync(path.join(dir, 'ltx')), [])
})
