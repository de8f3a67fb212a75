import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { checksumFromHalves, lockPage } from '../../src/ltx/checksum.js'
import { LtxDecoder } from '../../src/ltx/decoder.js'
import { LtxEncoder } from '../../src/ltx/encoder.js'
import { decodeHeader, encodeHeader, type LtxHeader } from '../../src/ltx/header.js'
import { formatLtxName, formatPosition, parseLtxName, parsePosition, parseTxid } from '../../src/ltx/names.js'
import { pageChecksum } from '../../src/native.js'
import {
  CHANGE,
  databaseChecksum,
  encodeLtx,
  FLAG,
  forge,
  index,
  patternPage,
  randomFrom,
  readLtx,
  sourceOf,
  writtenFiles,
} from './forge.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/ltx', import.meta.url))
const SHARED = fileURLToPath(new URL('../../../shared/fixtures', import.meta.url))

t.test("files of Go's ltx, every version", async (t) => {
  const pages = [1, 2, 3].map((pgno) => ({ pgno, data: patternPage(pgno) }))
  for (const [name, version, flags] of [
    ['v1', 1, 0],
    ['v1-lz4', 1, 1],
    ['v2', 2, 0],
    ['v3-frame', 3, 0],
    ['v3-block', 3, 0],
  ] as const) {
    for (const most of [1 << 20, 1, 7]) {
      const snapshot = readLtx(readFileSync(join(FIXTURES, `${name}-snapshot.ltx`)), {}, most)
      t.equal(snapshot.decoder.version, version, name)
      t.same(snapshot.pages, pages)
      t.same(snapshot.decoder.header, {
        ...CHANGE,
        flags,
        commit: 3,
        minTxid: 1n,
        maxTxid: 4n,
        timestamp: 1700000000123,
        preApplyChecksum: 0n,
      })
      const change = readLtx(readFileSync(join(FIXTURES, `${name}-change.ltx`)), {}, most)
      t.same(change.pages, [pages[1]])
      t.same(change.decoder.header, {
        ...CHANGE,
        flags,
        commit: 2,
        timestamp: 1700000000456,
        preApplyChecksum: snapshot.decoder.trailer.postApplyChecksum,
        walOffset: 32,
        walSize: 1072,
        walSalt1: 0xdeadbeef,
        walSalt2: 7,
        nodeId: 0xfedcba9876543210n,
      })
      t.equal(change.decoder.trailer.postApplyChecksum, databaseChecksum(pages.slice(0, 2)))
    }
  }
  for (const [name, flags, count] of [
    ['v1-untracked-snapshot', 2, 3],
    ['v1-untracked-change', 2, 1],
    ['v1-lz4-untracked-change', 3, 1],
    ['v1-untracked-empty', 2, 0],
  ] as const) {
    const { decoder, pages: found } = readLtx(readFileSync(join(FIXTURES, `${name}.ltx`)))
    t.equal(decoder.version, 1, name)
    t.equal(decoder.header.flags, flags)
    t.same(found, count === 1 ? [pages[1]] : pages.slice(0, count))
    t.equal(decoder.trailer.postApplyChecksum, 0n)
  }
})

t.test("Litestream's and LiteFS' own files", async (t) => {
  if (!existsSync(SHARED)) {
    t.comment(`${SHARED} is not there: files of Litestream and LiteFS not checked`)
    return
  }
  let files = 0
  for (const folder of [
    'litestream/ltx/9',
    'litestream/ltx/0',
    'ltx-v1',
    'litefs/store/open-and-write-snapshot/dbs/sqlite.db/ltx',
  ]) {
    for (const name of readdirSync(join(SHARED, folder)).filter((name) => name.endsWith('.ltx'))) {
      const bytes = readFileSync(join(SHARED, folder, name))
      const { decoder, pages } = readLtx(bytes)
      t.equal(decoder.size, bytes.length, name)
      if (folder === 'ltx-v1') {
        t.ok(
          Buffer.concat(pages.map((page) => page.data)).equals(readFileSync(join(SHARED, folder, 'source.db'))),
          name,
        )
      } else {
        t.same(parseLtxName(name), { minTxid: decoder.header.minTxid, maxTxid: decoder.header.maxTxid })
      }
      files++
    }
  }
  t.equal(files, 7)
})

t.test('what is written is read', async (t) => {
  for (const { what, header, pages, post } of writtenFiles()) {
    for (const compress of [true, false]) {
      const bytes = encodeLtx(header, pages, post, { compress })
      const { decoder, pages: found } = readLtx(bytes, {}, 1000)
      t.equal(decoder.version, 3, what)
      t.same(decoder.header, header)
      t.ok(found.length === pages.length && found.every((page, i) => pages[i]?.data.equals(page.data)))
      t.equal(decoder.trailer.postApplyChecksum, post)
      t.equal(decoder.size, bytes.length)
      if (pages.length === 0) t.equal(bytes.length, 131)
    }
  }
})

t.test("Go's ltx accepts what is written", async (t) => {
  const ltx = process.env['LITEFS_TEST_GO_LTX']
  if (ltx === undefined) {
    t.comment("LITEFS_TEST_GO_LTX does not name Go's ltx command (v0.5.2 or later): not run")
    return
  }
  const dir = t.testdir()
  for (const [i, { what, header, pages, post }] of writtenFiles().entries()) {
    const path = join(dir, `${i}.ltx`)
    for (const compress of [true, false]) {
      writeFileSync(path, encodeLtx(header, pages, post, { compress }))
      t.match(execFileSync(ltx, ['verify', path], { encoding: 'utf8' }), /^ok/, what)
      const listed = execFileSync(ltx, ['list', '-tsv', path], { encoding: 'utf8' }).split('\n')[1]?.split('\t')
      t.same(listed?.slice(2, 4).map(Number), [header.commit, pages.length])
    }
  }
})

t.test('a snapshot beyond the lock page, streamed', async (t) => {
  const page = Buffer.alloc(65536)
  const out = new Uint32Array(2)
  let [hi, lo] = [0, 0]
  const chunks: Buffer[] = []
  const encoder = new LtxEncoder((chunk) => chunks.push(Buffer.from(chunk)), { compress: true })
  encoder.header({ ...CHANGE, pageSize: 65536, commit: 16386, minTxid: 1n, preApplyChecksum: 0n })
  for (let pgno = 1; pgno <= 16386; pgno++) {
    if (pgno === 16385) continue
    if (pgno % 400 === 0) await setImmediate()
    encoder.page(pgno, page)
    pageChecksum(out, 0, pgno, page, 0, page.length)
    hi ^= out[0] ?? 0
    lo ^= out[1] ?? 0
  }
  encoder.close(checksumFromHalves(hi, lo))
  const decoder = new LtxDecoder(sourceOf(Buffer.concat(chunks)))
  decoder.verify()
  t.equal(decoder.pageCount, 16385)
})

t.test('a large file, written without letting the event loop turn, takes little memory', async (t) => {
  const random = randomFrom(2)
  const page = Buffer.from(Array.from({ length: 4096 }, () => random(256)))
  let size = 0
  const add = (chunk: Uint8Array) => {
    size += chunk.length
  }
  const before = process.memoryUsage().rss
  const encoder = new LtxEncoder(add, { compress: true })
  encoder.header({ ...CHANGE, pageSize: 4096, commit: 100_000 })
  for (let pgno = 1; pgno <= 100_000; pgno++) encoder.page(pgno, page)
  encoder.close(FLAG | 1n)
  t.ok(process.memoryUsage().rss - before < 150 * 1024 * 1024)
  t.ok(size > 400_000_000)
})

t.test('what a writer may not write', async (t) => {
  const page = patternPage(1)
  const write = (header: LtxHeader, pgnos: number[], post = FLAG) =>
    encodeLtx(
      header,
      pgnos.map((pgno) => ({ pgno, data: page })),
      post,
      { compress: true },
    )
  const snapshot = { ...CHANGE, minTxid: 1n, preApplyChecksum: 0n, commit: 3 }
  for (const [message, attempt] of [
    [/page size 1000/, () => write({ ...CHANGE, pageSize: 1000 }, [])],
    [/TXIDs/, () => write({ ...CHANGE, maxTxid: 4n }, [])],
    [/TXIDs/, () => write({ ...CHANGE, minTxid: 0n }, [])],
    [/flags 0x1/, () => write({ ...CHANGE, flags: 1 }, [])],
    [/drop .* without checksums/, () => write({ ...CHANGE, flags: 2, preApplyChecksum: 0n, commit: 0 }, [], 0n)],
    [/lacks its top bit/, () => write({ ...CHANGE, preApplyChecksum: 5n }, [])],
    [/snapshot with a pre-apply/, () => write({ ...snapshot, preApplyChecksum: FLAG }, [])],
    [/none is tracked/, () => write({ ...CHANGE, flags: 2 }, [])],
    [/salts/, () => write({ ...CHANGE, walSalt2: 1 }, [])],
    [/WAL size/, () => write({ ...CHANGE, walSize: 1 }, [])],
    [/negative/, () => write({ ...CHANGE, walOffset: -1 }, [])],
    [/has 9 pages/, () => write(CHANGE, [10])],
    [/follows page 4/, () => write(CHANGE, [4, 4])],
    [/follows page 0/, () => write(CHANGE, [0])],
    [/lock page/, () => write({ ...CHANGE, commit: 0xffffffff }, [lockPage(512)])],
    [/lacks page 2/, () => write(snapshot, [1, 3])],
    [/page 3 of 3 is missing/, () => write(snapshot, [1, 2])],
    [/post-apply checksum 0000000000000007/, () => write(CHANGE, [], 7n)],
    [/none is tracked/, () => write({ ...CHANGE, flags: 2, preApplyChecksum: 0n }, [], FLAG)],
    [/empty database/, () => write({ ...CHANGE, commit: 0 }, [], FLAG | 1n)],
  ] as const) {
    t.throws(attempt, { name: 'LtxError', message })
  }
  const encoder = new LtxEncoder(() => {}, { compress: true })
  t.throws(() => encoder.page(1, page), { name: 'AssertionError' })
  t.throws(() => encoder.close(FLAG), { name: 'AssertionError' })
})

t.test('what a reader refuses, in files whose checksum is right', async (t) => {
  const data = patternPage(2)
  const page = { pgno: 2, data }
  const snapshot = { ...CHANGE, minTxid: 1n, preApplyChecksum: 0n, commit: 1 }
  const one = [{ pgno: 1, data: patternPage(1) }]
  const good = forge({ header: CHANGE, pages: [page] })
  t.equal(readLtx(good).pages.length, 1)
  const patched = (offset: number, value: number) => {
    const header = Buffer.from(encodeHeader(CHANGE))
    header.writeUInt8(value, offset)
    return forge({ header, pages: [page] })
  }
  for (const [message, file] of [
    [/does not start with "LTX1"/, patched(3, 0x32)],
    [/flags 0x4/, patched(7, 4)],
    [/page size/, patched(10, 3)],
    [/TXIDs/, patched(24, 0).fill(0, 24, 32)],
    [/TXIDs/, patched(31, 4)],
    [/timestamp is out of range/, patched(32, 0x7f)],
    [/lacks its top bit/, patched(40, 0x70)],
    [/negative/, patched(48, 0xff).fill(0xff, 48, 56)],
    [/WAL size/, patched(63, 1)],
    [/salts/, patched(67, 1)],
    [/reserved/, patched(99, 1)],
    [/unknown flags 0x3/, forge({ header: CHANGE, pages: [page, { pgno: 3, data, flags: 3 }] })],
    [/has 9 pages/, forge({ header: CHANGE, pages: [{ pgno: 10, data }] })],
    [/follows page 2/, forge({ header: CHANGE, pages: [page, page] })],
    [/lock page/, forge({ header: { ...CHANGE, commit: 0xffffffff }, pages: [{ pgno: lockPage(512), data }] })],
    [/page 1 of 1 is missing/, forge({ header: snapshot })],
    [/lacks page 1/, forge({ header: { ...snapshot, commit: 2 }, pages: [page] })],
    [/post-apply checksum is .* computed/, forge({ header: snapshot, pages: one })],
    [/inflates to 511/, forge({ header: CHANGE, pages: [{ pgno: 2, data: data.subarray(1) }] })],
    [/does not decompress/, forge({ header: CHANGE, pages: [{ pgno: 2, data: Buffer.alloc(513) }] })],
    [/does not decompress/, forge({ header: CHANGE, pages: [{ pgno: 2, data, block: Buffer.alloc(0) }] })],
    [/takes 4294967295 bytes/, forge({ header: CHANGE, pages: [{ pgno: 2, data, blockSize: 0xffffffff }] })],
    [/takes 531 bytes/, forge({ header: CHANGE, pages: [{ pgno: 2, data, block: Buffer.alloc(531) }] })],
    [/index disagrees/, forge({ header: CHANGE, pages: [page], index: index([2, 101, 500]) })],
    [/index disagrees/, forge({ header: CHANGE, pages: [page], index: index([]) })],
    [/index disagrees/, forge({ header: CHANGE, index: index([2, 100, 50]) })],
    [/index disagrees/, forge({ header: CHANGE, index: index([], 2n) })],
    [/follows its trailer/, forge({ header: CHANGE, pages: [page], after: Buffer.alloc(1) })],
    [/lacks its top bit/, forge({ header: CHANGE, post: 5n })],
    [/empty database/, forge({ header: { ...CHANGE, commit: 0 }, post: FLAG | 1n })],
    [/none is tracked/, forge({ header: { ...CHANGE, flags: 2, preApplyChecksum: 0n } })],
    [/its checksum is .* computed/, Buffer.from(good).fill(1, good.length - 1)],
    [/ends inside its header/, good.subarray(0, 99)],
    [/ends inside its page header/, good.subarray(0, 103)],
    [/ends inside its page/, good.subarray(0, 115)],
    [/ends inside its trailer/, good.subarray(0, -1)],
    [/ends inside its/, Buffer.alloc(0)],
  ] as const) {
    t.throws(() => readLtx(file, { version: 3 }), { name: 'LtxError', message })
  }
  const loose = readLtx(forge({ header: snapshot, pages: one }), { verifyPostApply: false })
  t.equal(loose.pages.length, 1, 'the caller may check the post-apply checksum itself')
})

const backupHeader: LtxHeader = {
  flags: 2,
  pageSize: 4096,
  commit: 1,
  minTxid: 1n,
  maxTxid: 1n,
  timestamp: 0,
  preApplyChecksum: 0n,
  walOffset: 0,
  walSize: 0,
  walSalt1: 0,
  walSalt2: 0,
  nodeId: 0n,
}

t.test("a backup's file tells where its database stood, in the reserved bytes", async (t) => {
  const header = {
    ...decodeHeader(encodeHeader(backupHeader)),
    sourcePosition: { txid: 0x1234n, checksum: 0x8000000000000abcn },
  }
  const bytes = encodeHeader(header)
  t.equal(bytes.subarray(80).toString('hex'), '4c46533100000000000012348000000000000abc')
  t.strictSame(decodeHeader(bytes), header)
  t.notOk('sourcePosition' in decodeHeader(encodeHeader(backupHeader)))
  const encoder = new LtxEncoder(() => {}, { compress: false })
  t.throws(() => encoder.header({ ...header, flags: 0 }), /a source position in no backup/)
})

t.test('names and positions', async (t) => {
  t.equal(formatLtxName(1n, 0xffffffffffffffffn), '0000000000000001-ffffffffffffffff.ltx')
  t.same(parseLtxName('000000000000000a-00000000000000ff.ltx'), { minTxid: 10n, maxTxid: 255n })
  for (const name of [
    '0000000000000000-0000000000000001.ltx',
    '0000000000000002-0000000000000001.ltx',
    '000000000000000A-00000000000000FF.ltx',
    '000000000000000a-00000000000000ff.ltx.tmp',
    '../000000000000000a-00000000000000ff.ltx',
  ]) {
    t.equal(parseLtxName(name), undefined, name)
  }
  const position = { txid: 10n, checksum: FLAG | 1n }
  t.equal(formatPosition(position), '000000000000000a/8000000000000001')
  t.same(parsePosition('000000000000000a/8000000000000001'), position)
  for (const text of [
    '',
    '000000000000000a',
    '000000000000000a/8000000000000001/',
    'a/b',
    '000000000000000a/800000000000000g',
  ]) {
    t.throws(() => parsePosition(text), { name: 'LtxError', message: /^Cannot parse position/ })
  }
  t.equal(parseTxid('00000000000000ff'), 255n)
  t.throws(() => parseTxid('ff'), { name: 'LtxError' })
  t.equal(lockPage(4096), 262145)
})
