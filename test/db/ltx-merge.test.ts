import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openLtxFile } from '../../src/db/ltx-file.js'
import { openMerge, openMergeOf, writeLtxFile } from '../../src/db/ltx-merge.js'
import { rebuildDatabase } from '../../src/db/ltx-rebuild.js'
import { LtxDecoder } from '../../src/ltx/decoder.js'
import { encodeFile } from '../../src/ltx/encode-file.js'
import { LtxMerge } from '../../src/ltx/merge.js'
import { neededFiles } from '../../src/ltx/needed.js'
import { indexedPages } from '../../src/ltx/page-numbers.js'
import { CHANGE, convert, encodeLtx, FLAG, randomFrom, readLtx, sourceOf } from '../ltx/forge.js'
import { Model, pagesOf } from './ltx-model.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/ltx', import.meta.url))
const OPTIONS = { compress: true }

/** A chain in which all happens that can: pages cut off and grown over again, with content or without, a drop, another page size. */
function eventfulChain(dir: string, seed: number): Model {
  const model = new Model(dir)
  const random = randomFrom(seed)
  model.commit(pagesOf(random, 3))
  for (let round = 0; round < 40; round++) {
    const pages = model.bytes.length / model.pageSize
    const commit = Math.max(1, pages + random(9) - 4)
    const bytes = Buffer.concat([model.bytes, Buffer.alloc(4 * 4096)]).subarray(0, commit * model.pageSize)
    const touched = new Set<number>()
    for (let i = random(4); i >= 0; i--) touched.add(1 + random(commit))
    for (const pgno of touched) pagesOf(random, 1, model.pageSize).copy(bytes, (pgno - 1) * model.pageSize)
    const pgnos = [...touched].sort((a, b) => a - b)
    model.commit(bytes, model.pageSize, pages === 0 ? undefined : pgnos)
    if (round === 15) model.commit(Buffer.alloc(0))
    if (round === 16) model.commit(pagesOf(random, 5))
    if (round === 30) model.commit(pagesOf(random, 2, 4096), 4096)
  }
  return model
}

async function mergeTo(target: string, paths: string[], temporaryDir: string): Promise<void> {
  const merge = await openMerge(paths, temporaryDir)
  await writeLtxFile(merge.reader, target, OPTIONS)
  merge.close()
}

t.test('a merged file does what the files do one after the other', async (t) => {
  for (const seed of [1, 2, 3, 4]) {
    const dir = t.testdir({ ltx: {} })
    const { paths, bytes, txid } = eventfulChain(join(dir, 'ltx'), seed)
    const random = randomFrom(seed)
    const merged = join(dir, 'merged.ltx')
    for (let round = 0; round < 12; round++) {
      const start = round === 0 ? 0 : random(paths.length)
      const end = round === 0 ? paths.length : start + 1 + random(paths.length - start)
      await mergeTo(merged, paths.slice(start, end), dir)
      const { header } = readLtx(readFileSync(merged)).decoder
      t.same([header.minTxid, header.maxTxid], [BigInt(start + 1), BigInt(end)])
      const target = join(dir, 'database')
      const result = await rebuildDatabase(target, [...paths.slice(0, start), merged, ...paths.slice(end)])
      t.ok(readFileSync(target).equals(bytes), `seed ${seed}: ${start + 1} to ${end} of ${txid}`)
      t.equal(result.position.txid, txid)
    }
  }
})

t.test("as Go's compactor merges", async (t) => {
  const read = (name: string) => new LtxDecoder(sourceOf(readFileSync(join(FIXTURES, name))))
  const golden = readFileSync(join(FIXTURES, 'v1-compacted.ltx'))
  for (const versions of [
    ['v1', 'v1'],
    ['v3-block', 'v1-lz4'],
    ['v2', 'v3-frame'],
  ]) {
    const merge = new LtxMerge([read(`${versions[0]}-snapshot.ltx`), read(`${versions[1]}-change.ltx`)])
    t.ok(Buffer.concat([...encodeFile(merge, { version: 1, compress: false })]).equals(golden), versions.join())
  }
})

t.test('thousands of files in little memory', async (t) => {
  const dir = t.testdir({ ltx: {}, scratch: {} })
  const model = new Model(join(dir, 'ltx'))
  const random = randomFrom(6)
  model.commit(pagesOf(random, 4))
  for (let i = 0; i < 3000; i++) {
    const bytes = Buffer.from(model.bytes)
    const pgno = 1 + random(4)
    pagesOf(random, 1).copy(bytes, (pgno - 1) * 512)
    model.commit(bytes, 512, [pgno])
  }
  const merge = await openMerge(model.paths, join(dir, 'scratch'))
  t.same(readdirSync(join(dir, 'scratch')), [], 'what is merged in between has no name')
  t.ok(readdirSync('/proc/self/fd').length < 300)
  const target = join(dir, 'scratch/all.ltx')
  await writeLtxFile(merge.reader, target, OPTIONS)
  merge.close()
  t.same(readdirSync(join(dir, 'scratch')), ['all.ltx'])
  t.ok(readdirSync('/proc/self/fd').length < 60)
  const { decoder, pages } = readLtx(readFileSync(target))
  t.ok(Buffer.concat(pages.map((page) => page.data)).equals(model.bytes))
  t.match(decoder.header, { minTxid: 1n, maxTxid: 3001n, commit: 4, preApplyChecksum: 0n, nodeId: 0n })
  t.ok(statSync(target).size < 3000)
})

t.test('what does not belong together', async (t) => {
  const dir = t.testdir()
  const page = { pgno: 2, data: Buffer.alloc(512, 1) }
  const write = (txid: bigint, pre: bigint, post: bigint, flags = 0) => {
    const path = join(dir, `${txid}-${pre}-${flags}.ltx`)
    const header = { ...CHANGE, minTxid: txid, maxTxid: txid, preApplyChecksum: pre, flags }
    writeFileSync(path, encodeLtx(header, [page], post, OPTIONS))
    return path
  }
  const [first, second] = [write(5n, FLAG | 1n, FLAG | 2n), write(6n, FLAG | 2n, FLAG | 3n)]
  const target = join(dir, 'merged')
  await mergeTo(target, [first, second], dir)
  t.equal(readLtx(readFileSync(target)).decoder.trailer.postApplyChecksum, FLAG | 3n)

  const damaged = join(dir, 'damaged.ltx')
  copyFileSync(second, damaged)
  const bytes = readFileSync(damaged)
  writeFileSync(damaged, bytes.fill(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1))
  for (const [message, paths] of [
    [/there are none/, []],
    [
      /TXID 0000000000000006 should come next, the next file starts at 0000000000000007/,
      [first, write(7n, FLAG, FLAG)],
    ],
    [/TXID 0000000000000007 should come next, the next file starts at 0000000000000005/, [second, first]],
    [/checksum is 8000000000000002 where the file of TXID 0000000000000006 needs 8/, [first, write(6n, FLAG, FLAG)]],
    [/TXID 0000000000000006 and the first differ in whether checksums are kept/, [first, write(6n, 0n, 0n, 2)]],
    [/damaged.ltx: Cannot read LTX file: its checksum is/, [first, damaged]],
    [/ENOENT/, [first, join(dir, 'absent.ltx')]],
  ] as const) {
    await t.rejects(mergeTo(target, [...paths], dir), { message })
  }
  t.equal(readLtx(readFileSync(target)).pages.length, 1, 'the file from before is still there')
  t.notOk(readdirSync(dir).some((name) => name.endsWith('.tmp')))
  const huge = { ...CHANGE, minTxid: 6n, maxTxid: 6n, preApplyChecksum: FLAG | 2n, commit: 0xfffffff }
  writeFileSync(damaged, convert(encodeLtx(huge, [], FLAG, OPTIONS), { version: 1, compress: false }))
  await t.rejects(mergeTo(target, [first, damaged], dir), { message: /lack page 1048586 and many others/ })
})

t.test('what a merge needs of many files comes to the same as all of them', async (t) => {
  for (const seed of [1, 2, 3]) {
    const dir = t.testdir({ ltx: {}, scratch: {} })
    const { paths } = eventfulChain(join(dir, 'ltx'), seed)
    const files = paths.map((path) => {
      const bytes = readFileSync(path)
      const { header } = readLtx(bytes).decoder
      return { path, header, pgnos: indexedPages(header.flags, bytes) }
    })
    const random = randomFrom(seed)
    let left = 0
    for (let round = 0; round < 15; round++) {
      const start = random(paths.length - 1)
      const part = files.slice(start, round === 0 ? files.length : start + 1 + random(files.length - start))
      const before = start === 0 ? 0 : (files[start - 1]?.header.commit ?? 0)
      const needed = neededFiles(
        part.map(({ header }) => header),
        before,
        (index) => (random(9) === 0 ? undefined : part[index]?.pgnos),
      )
      left += part.length - needed.length
      const merged = async (some: typeof part, sparse: boolean) => {
        const runs = some.map(
          ({ path }) =>
            () =>
              openLtxFile(path),
        )
        // Few at a time, so that groups are merged first.
        const merge = await openMergeOf(runs, join(dir, 'scratch'), { pagesBefore: before, sparse }, 4)
        await writeLtxFile(merge.reader, join(dir, 'merged.ltx'), OPTIONS)
        merge.close()
        return readFileSync(join(dir, 'merged.ltx'))
      }
      const few = await merged(
        needed.flatMap((index) => part[index] ?? []),
        true,
      )
      t.ok(few.equals(await merged(part, false)), `seed ${seed}: ${needed.length} of ${part.length} from ${start + 1}`)
    }
    t.ok(left > 20, 'most rounds leave some out')
  }
})
