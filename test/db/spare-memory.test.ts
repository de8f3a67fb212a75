import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { BackingFile } from '../../src/db/backing-file.js'
import { LtxSpool } from '../../src/db/ltx-spool.js'
import { TracedNode } from './traced-writes.js'

const FILES = 12 // more than memory is kept for

function scratch(t: Test): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'litefs-spare-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  return directory
}

t.test('runs of many files at the same time stay apart, though their memory is used again', async (t) => {
  const directory = scratch(t)
  const files = Array.from({ length: FILES }, (_, index) => BackingFile.create(path.join(directory, String(index))))
  const expected = files.map(() => '')
  for (let round = 0; round < 3; round++) {
    for (const [index, file] of files.entries()) {
      file.stageRun()
      const text = `round ${round} of file ${index};`.repeat(index + 1)
      file.write(Buffer.from(text), expected[index]?.length ?? 0)
      expected[index] += text
    }
    // Some are flushed while others still hold theirs, and then wait for the next round with theirs given back.
    for (const file of files.filter((_, index) => index % 2 === round % 2)) file.flush()
  }
  for (const file of files) {
    file.flush()
    file.close()
  }
  t.same(
    files.map(({ path }) => readFileSync(path, 'utf8')),
    expected,
  )
})

t.test('LTX files of several databases at the same time stay apart', async (t) => {
  const directory = scratch(t)
  const spools = Array.from({ length: 3 }, () => new LtxSpool(directory))
  const sizes = [10, 20_000, 100]
  for (let round = 0; round < 3; round++) {
    for (const [index, spool] of spools.entries()) {
      spool.write(Buffer.alloc(5, `${round}${index}`))
      spool.write(Buffer.alloc(sizes[index] ?? 0, `${index}${round}`))
    }
    const found = spools.map((spool) => {
      const released = spool.release(path.join(directory, 'unused'))
      return 'bytes' in released ? Buffer.from(released.bytes).toString() : ''
    })
    const expected = sizes.map((size, index) =>
      Buffer.concat([Buffer.alloc(5, `${round}${index}`), Buffer.alloc(size, `${index}${round}`)]).toString(),
    )
    t.same(found, expected)
  }
})

t.test('a large journal that persists is not in memory any more once nobody uses it', async (t) => {
  const node = await TracedNode.open(scratch(t))
  const { files, layout } = node.database('a.db')
  for (const [size, kept] of [
    [10_000, true],
    [100_000, false],
  ] as const) {
    node.do(['open', 1, 'a.db-journal'])
    node.do(['write', 1, 512, Buffer.alloc(size, 'old pages').toString('base64')])
    node.do(['close', 1])
    t.equal(files.stagedBytes > 0, kept)
    t.equal(existsSync(layout.journal), !kept)
    t.equal(files.size('journal'), 512 + size)
  }
  await node.close()
})
