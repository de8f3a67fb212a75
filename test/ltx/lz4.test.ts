import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { blockBound, lz4, packagedLz4, storeBlock, systemLz4 } from '../../src/ltx/lz4.js'
import { FRAME_HEADER } from '../../src/ltx/lz4-frame.js'
import { Xxh32 } from '../../src/ltx/xxh32.js'
import { lz4Available, lz4Compress, lz4Decompress } from '../../src/native.js'
import { compress, patternPage, randomFrom } from './forge.js'

const GO_FILE = fileURLToPath(new URL('../fixtures/ltx/v3-block-change.ltx', import.meta.url))
const libraries = lz4Available() ? { system: systemLz4, package: packagedLz4 } : { package: packagedLz4 }
if (!lz4Available()) t.comment('liblz4.so.1 is not there: only the package is tested')

const random = randomFrom(3)
const noise = (size: number) => Buffer.from(Array.from({ length: size }, () => random(256)))
const datas = [512, 4096, 65536].flatMap((size) => [
  Buffer.alloc(size),
  noise(size),
  patternPage(3, size),
  Buffer.concat([noise(size / 2), Buffer.alloc(size / 4), noise(size / 4)]),
])

function makers(data: Buffer): Record<string, Buffer> {
  const stored = Buffer.alloc(blockBound(data.length))
  const blocks: Record<string, Buffer> = { literals: stored.subarray(0, storeBlock(data, stored, 0)) }
  for (const [name, library] of Object.entries(libraries)) blocks[name] = compress(library, data)
  return blocks
}

t.test('what one library makes, the other reads, and so does lz4', async (t) => {
  t.equal(lz4, lz4Available() ? systemLz4 : packagedLz4)
  for (const data of datas) {
    for (const [maker, block] of Object.entries(makers(data))) {
      t.ok(block.length <= blockBound(data.length), `${maker}, ${data.length} bytes`)
      if (data[0] === 0 && data.equals(Buffer.alloc(data.length))) {
        t.equal(block.length < data.length / 20, maker !== 'literals', `${maker} compresses`)
      }
      for (const [reader, library] of Object.entries(libraries)) {
        const into = Buffer.alloc(data.length)
        const surrounded = Buffer.concat([noise(5), block, noise(7)])
        t.equal(library.inflate(surrounded, 5, 5 + block.length, into), data.length, `${reader} reads ${maker}`)
        t.ok(into.equals(data))
      }
      t.ok(inflatedByTool(t, block, data).equals(data), `lz4 reads ${maker}`)
    }
  }
})

/** What the lz4 command makes of the block in a frame; `data` itself where there is no such command. */
function inflatedByTool(t: { comment(text: string): void }, block: Buffer, data: Buffer): Buffer {
  const size = Buffer.alloc(4)
  size.writeUInt32LE(block.length)
  const end = Buffer.alloc(8)
  const content = new Xxh32()
  content.update(data)
  end.writeUInt32LE(content.digest(), 4)
  // A block of a frame never exceeds 64 KiB; one that would is stored.
  if (block.length > 65536) return data
  const { error, stdout } = spawnSync('lz4', ['-dc'], { input: Buffer.concat([FRAME_HEADER, size, block, end]) })
  if (error === undefined) return stdout
  t.comment('the lz4 command is not there: not run')
  return data
}

t.test("a block of Go's ltx", async (t) => {
  const file = readFileSync(GO_FILE)
  const end = 110 + file.readUInt32BE(106)
  for (const [name, library] of Object.entries(libraries)) {
    const page = Buffer.alloc(512)
    t.equal(library.inflate(file, 110, end, page), 512, name)
    t.same(page, patternPage(2))
  }
})

t.test('what is no block, or too large a one, is refused', async (t) => {
  for (const [name, library] of Object.entries(libraries)) {
    const block = compress(library, patternPage(3, 4096))
    const into = Buffer.alloc(4096)
    t.equal(library.inflate(block, 0, block.length, into.subarray(1)), -1, `${name}: no room`)
    t.equal(library.inflate(block, 0, 0, into), -1, `${name}: nothing`)
    t.equal(library.inflate(block, 0, block.length - 3, into), -1, `${name}: cut`)
    for (let round = 0; round < 3000; round++) {
      const damaged = Buffer.from(block)
      for (let i = random(4); i >= 0; i--) damaged.writeUInt8(random(256), random(damaged.length))
      const guarded = Buffer.alloc(4096 + 64, 0x5a)
      const size = library.inflate(damaged, 0, damaged.length, guarded.subarray(0, 4096))
      if (size < -1 || size > 4096 || guarded.subarray(4096).some((byte) => byte !== 0x5a)) t.fail(`round ${round}`)
    }
  }
})

t.test('the package holds little memory without a turn of the event loop', async (t) => {
  const data = noise(4096)
  const target = Buffer.alloc(blockBound(data.length))
  const before = process.memoryUsage().rss
  for (let page = 0; page < 50_000; page++) packagedLz4.compress(data, target, 0)
  t.ok(process.memoryUsage().rss - before < 150 * 1024 * 1024)
})

if (lz4Available()) {
  t.test('ranges of the addon', async (t) => {
    const source = Buffer.alloc(100)
    const target = Buffer.alloc(20)
    const size = lz4Compress(source, 10, 90, target, 2)
    t.equal(lz4Decompress(target, 2, 2 + size, source), 80)
    t.equal(lz4Compress(noise(100), 0, 100, target, 0), 0, 'does not fit')
    t.equal(lz4Compress(source, 0, 100, target, 20), 0, 'no room')
    t.throws(() => lz4Compress(source, 0, 101, target, 0), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => lz4Compress(source, 0, 100, target, 21), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => lz4Decompress(target, 3, 2, source), { code: 'ERR_OUT_OF_RANGE' })
  })
}
