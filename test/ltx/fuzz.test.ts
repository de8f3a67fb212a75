import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { LtxDecoder } from '../../src/ltx/decoder.js'
import { encodeFile } from '../../src/ltx/encode-file.js'
import { LtxError } from '../../src/ltx/error.js'
import { LtxMerge } from '../../src/ltx/merge.js'
import { convert, encodeLtx, randomFrom, readLtx, sourceOf, writtenFiles } from './forge.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/ltx', import.meta.url))

t.test('damaged files are errors, whatever the damage', async (t) => {
  const random = randomFrom(20261121)
  const seeds = [
    ...writtenFiles()
      .slice(0, 6)
      .map(({ header, pages, post }) => encodeLtx(header, pages, post, { compress: true })),
    ...[true, false].map((compress) =>
      convert(readFileSync(join(FIXTURES, 'v2-snapshot.ltx')), { version: 1, compress }),
    ),
    ...readdirSync(FIXTURES)
      .filter((name) => name.endsWith('.ltx'))
      .map((name) => readFileSync(join(FIXTURES, name))),
  ]
  const pick = () => seeds[random(seeds.length)] ?? Buffer.alloc(0)
  let accepted = 0
  const before = process.memoryUsage().rss
  for (let round = 0; round < 6000; round++) {
    const file = mutate(pick(), pick(), random)
    try {
      readLtx(file, { verifyPostApply: random(2) === 0 })
      accepted++
    } catch (error) {
      if (!(error instanceof LtxError)) throw new Error(`round ${round}`, { cause: error })
    }
  }
  t.ok(accepted < 300, `${accepted} of 6000 read, those that the damage left whole`)
  t.ok(process.memoryUsage().rss - before < 200 * 1024 * 1024)
})

t.test('damaged files are errors when they are converted and merged, too', async (t) => {
  const random = randomFrom(20261122)
  const files = readdirSync(FIXTURES).filter((name) => /-(?:snapshot|change)\.ltx$/.test(name))
  const [snapshots, changes] = ['snapshot', 'change'].map((what) =>
    files.filter((name) => name.includes(what)).map((name) => readFileSync(join(FIXTURES, name))),
  )
  const pick = (from: Buffer[] = []) => from[random(from.length)] ?? Buffer.alloc(0)
  let accepted = 0
  for (let round = 0; round < 2000; round++) {
    const pair = [pick(snapshots), pick(changes)]
    const damaged = random(2)
    pair[damaged] = mutate(pair[damaged] ?? Buffer.alloc(0), pick(changes), random)
    const options = { version: random(2) === 0 ? 1 : 3, compress: random(2) === 0 } as const
    try {
      const merge = new LtxMerge(pair.map((file) => new LtxDecoder(sourceOf(file))))
      readLtx(Buffer.concat([...encodeFile(merge, options)]))
      accepted++
    } catch (error) {
      if (!(error instanceof LtxError)) throw new Error(`round ${round}`, { cause: error })
    }
  }
  t.ok(accepted > 0 && accepted < 200, `${accepted} of 2000 merged, those that the damage left whole`)
})

/** Flipped bits, a cut, an overwritten word, a piece of another file in the middle, or the same file again (rarely without effect). */
function mutate(file: Buffer, other: Buffer, random: (below: number) => number): Buffer {
  const copy = Buffer.from(file)
  const at = random(copy.length)
  switch (random(5)) {
    case 0:
      for (let i = random(4); i >= 0; i--) {
        const target = random(copy.length)
        copy.writeUInt8(copy.readUInt8(target) ^ (1 << random(8)), target)
      }
      return copy
    case 1:
      return copy.subarray(0, at)
    case 2:
      return copy.fill([0, 0xff, 0x7f, 0x80][random(4)] ?? 0, at, Math.min(at + 1 + random(8), copy.length))
    case 3:
      return Buffer.concat([copy.subarray(0, at), other.subarray(random(other.length))])
    default:
      return Buffer.concat([copy, copy.subarray(at)])
  }
}
