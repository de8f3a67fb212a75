import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { LtxDecoder } from '../../src/ltx/decoder.js'
import { encodeFile } from '../../src/ltx/encode-file.js'
import type { LtxEncoderOptions } from '../../src/ltx/encoder.js'
import { tracksChecksums } from '../../src/ltx/header.js'
import { CHANGE, convert, encodeLtx, FLAG, randomFrom, readLtx, sourceOf, writtenFiles } from './forge.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/ltx', import.meta.url))
const NAMES = ['snapshot', 'change']
const OLD: LtxEncoderOptions = { version: 1, compress: false }
const OLD_LZ4: LtxEncoderOptions = { version: 1, compress: true }

t.test("version 1 byte for byte as Go's ltx writes it", async (t) => {
  for (const name of NAMES) {
    const golden = readFileSync(join(FIXTURES, `v1-${name}.ltx`))
    for (const from of ['v1', 'v1-lz4', 'v2', 'v3-frame', 'v3-block']) {
      t.ok(convert(readFileSync(join(FIXTURES, `${from}-${name}.ltx`)), OLD).equals(golden), `${from}-${name}`)
    }
    const compressed = convert(golden, OLD_LZ4)
    t.equal(readLtx(compressed).decoder.header.flags, 1)
    t.equal(
      compressed.subarray(0, 107).toString('hex'),
      readFileSync(join(FIXTURES, `v1-lz4-${name}.ltx`))
        .subarray(0, 107)
        .toString('hex'),
    )
    t.ok(convert(compressed, OLD).equals(golden))
  }
})

t.test('to version 1 and back nothing is lost, whatever the file', async (t) => {
  for (const { what, header, pages, post } of writtenFiles()) {
    for (const compress of [true, false]) {
      const file = encodeLtx(header, pages, post, { compress })
      if (!tracksChecksums(header)) {
        t.throws(() => convert(file, OLD), { name: 'LtxError', message: /version 1: it tracks no checksums/ })
        continue
      }
      const raw = convert(file, OLD)
      t.equal(raw.length, 120 + pages.length * (4 + header.pageSize), what)
      for (const old of [raw, convert(file, OLD_LZ4)]) {
        t.equal(readLtx(old, {}, 1000).decoder.version, 1)
        t.ok(convert(old, { compress }).equals(file), what)
      }
    }
  }
})

t.test("LiteFS' rule about WAL fields", async (t) => {
  const header = { ...CHANGE, walOffset: 32, walSalt1: 5 }
  const { decoder } = readLtx(convert(encodeLtx(header, [], FLAG, { compress: true }), OLD))
  t.match(decoder.header, { walOffset: 0, walSize: 0, walSalt1: 0 })
})

t.test("Go's ltx v0.3.14 accepts what is written", async (t) => {
  const ltx = process.env['LITEFS_TEST_GO_LTX_V1']
  if (ltx === undefined) {
    t.comment("LITEFS_TEST_GO_LTX_V1 does not name the ltx command of Go's ltx v0.3.14: not run")
    return
  }
  const path = join(t.testdir(), 'file.ltx')
  const random = randomFrom(5)
  const large = {
    what: 'many blocks, some of them incompressible',
    header: { ...CHANGE, pageSize: 4096, commit: 300 },
    pages: Array.from({ length: 300 }, (_, i) => ({
      pgno: i + 1,
      data: Buffer.from(Array.from({ length: 4096 }, () => (i % 50 < 20 ? random(256) : i))),
    })),
    post: FLAG | 3n,
  }
  for (const { what, header, pages, post } of [...writtenFiles(), large]) {
    if (!tracksChecksums(header)) continue
    const file = encodeLtx(header, pages, post, { compress: true })
    for (const options of [OLD, OLD_LZ4]) {
      writeFileSync(path, convert(file, options))
      t.match(execFileSync(ltx, ['verify', path], { encoding: 'utf8' }), /^ok/, what)
    }
    t.ok(convert(convert(file, OLD_LZ4), { compress: true }).equals(file))
  }
})

t.test("a piece is the reader's to keep, and a bad file ends with an error", async (t) => {
  const page = Buffer.alloc(4096, 7)
  const file = encodeLtx(
    { ...CHANGE, pageSize: 4096, commit: 200 },
    Array.from({ length: 200 }, (_, i) => ({ pgno: i + 1, data: page })),
    FLAG,
    { compress: false },
  )
  const pieces = [...encodeFile(new LtxDecoder(sourceOf(file)), OLD)]
  t.equal(pieces.length, 13)
  t.ok(pieces.slice(0, -1).every((piece) => piece.length === 65536))
  t.ok(convert(Buffer.concat(pieces), { compress: false }).equals(file))
  const bad = Buffer.from(file)
  bad.writeUInt8(bad.readUInt8(bad.length - 1) ^ 1, bad.length - 1)
  t.throws(() => convert(bad, OLD), { name: 'LtxError', message: /its checksum is/ })
})
