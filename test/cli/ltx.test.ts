import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ltxCommand } from '../../src/cli/ltx.js'
import { CHANGE, encodeLtx, FLAG } from '../ltx/forge.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/ltx', import.meta.url))
const SNAPSHOT = '0000000000000001-0000000000000004.ltx'
const NEXT = '0000000000000005-0000000000000005.ltx'

/** Runs `litefs ltx ...` in this process. */
async function run(t: Test, ...args: string[]): Promise<{ out: string; err: string; code: number }> {
  const out = t.capture(process.stdout, 'write', () => true)
  const err = t.capture(process.stderr, 'write', () => true)
  process.exitCode = 0
  await ltxCommand().parseAsync(args, { from: 'user' })
  const code = Number(process.exitCode)
  process.exitCode = 0
  const text = (calls: { args: unknown[] }[]) => calls.map((call) => String(call.args[0])).join('')
  return { out: text(out()), err: text(err()), code }
}

function directory(t: Test): string {
  const dir = t.testdir()
  copyFileSync(join(FIXTURES, 'v3-block-snapshot.ltx'), join(dir, SNAPSHOT))
  copyFileSync(join(FIXTURES, 'v1-lz4-change.ltx'), join(dir, NEXT))
  return dir
}

t.test('list', async (t) => {
  const dir = directory(t)
  const { out, code } = await run(t, 'list', '--json', dir)
  t.equal(code, 0)
  t.match(JSON.parse(out), [
    {
      path: join(dir, SNAPSHOT),
      version: 3,
      pageCount: 3,
      maxTxid: '0000000000000004',
      timestamp: '2023-11-14T22:13:20.123Z',
    },
    { path: join(dir, NEXT), version: 1, pageCount: 1, walSalt1: 'deadbeef', nodeId: 'fedcba9876543210', size: 282 },
  ])
  const table = await run(t, 'list', dir)
  t.match(table.out, /^min_txid .*\n0{15}1 .*\n0{15}5 .* deadbeef 00000007 +282\n$/)
})

t.test('dump', async (t) => {
  const path = join(FIXTURES, 'v3-block-snapshot.ltx')
  const { out } = await run(t, 'dump', '--json', '--data', path)
  const dump = JSON.parse(out)
  t.equal(dump.pages.length, 3)
  t.equal(dump.pages[0].offset, 100)
  t.equal(Buffer.from(dump.pages[2].data, 'base64')[511], (31 * 3) % 256)
  t.equal(dump.trailer.postApplyChecksum, 'a1c5ad06d8e915bc', "as Go's ltx printed it")
  const text = await run(t, 'dump', '--data', path)
  t.match(text.out, /page 3: offset \d+, size \d+, checksum [0-9a-f]{16}\n {2}00000 {2}00 00/)
})

t.test('verify', async (t) => {
  const dir = directory(t)
  const ok = 'ok: 2 files; the chain leads from the beginning to TXID 0000000000000005\n'
  t.same(await run(t, 'verify', dir), { out: ok, err: '', code: 0 })
  copyFileSync(join(dir, NEXT), join(dir, '0000000000000006-0000000000000006.ltx'))
  t.match(await run(t, 'verify', dir), { code: 1, err: /0006.ltx: Invalid LTX header: its TXIDs make the name/ })

  const other = join(dir, 'other')
  mkdirSync(other)
  copyFileSync(join(FIXTURES, 'v3-block-snapshot.ltx'), join(other, SNAPSHOT))
  const change = readFileSync(join(FIXTURES, 'v3-block-change.ltx'))
  writeFileSync(join(other, NEXT), change.fill(1, 150, 151))
  const broken = await run(t, 'verify', '--json', other)
  t.equal(broken.code, 1)
  t.match(JSON.parse(broken.out), { ok: false, files: 2, errors: [/0005.ltx: Cannot read LTX file/] })
})

t.test('verify of every version', async (t) => {
  const files = ['v1', 'v1-lz4', 'v2', 'v3-frame', 'v3-block'].map((name) => join(FIXTURES, `${name}-change.ltx`))
  t.same(await run(t, 'verify', ...files), { out: 'ok: 5 files\n', err: '', code: 0 })
})

t.test('verify of files that do not follow each other', async (t) => {
  const dir = t.testdir()
  const header = { ...CHANGE, minTxid: 3n, maxTxid: 3n }
  const file = encodeLtx(header, [], FLAG, { compress: true })
  writeFileSync(join(dir, '0000000000000003-0000000000000003.ltx'), file)
  copyFileSync(join(FIXTURES, 'v3-block-change.ltx'), join(dir, NEXT))
  t.match(await run(t, 'verify', dir), { code: 1, out: '', err: /Broken LTX chain: TXID 0{15}4 should come next/ })
})

t.test('apply', async (t) => {
  const dir = directory(t)
  const output = join(dir, 'database')
  const { out, code } = await run(t, 'apply', '--json', '-o', output, dir)
  t.equal(code, 0)
  t.same(JSON.parse(out), {
    path: output,
    files: 2,
    pageSize: 512,
    pageCount: 2,
    txid: '0000000000000005',
    checksum: 'ac71d44fcb7d8101',
  })
  t.equal(readFileSync(output).length, 1024)
  t.match(await run(t, 'apply', '-o', output, join(dir, NEXT)), { code: 1, err: /not a SQLite database/ })
  writeFileSync(`${output}-wal`, 'x')
  t.match(await run(t, 'apply', '-o', output, dir), { code: 1, err: /database-wal would be taken for its own/ })
})

t.test('what is not there', async (t) => {
  const dir = t.testdir({ empty: {} })
  t.match(await run(t, 'list', join(dir, 'absent')), { code: 1, err: /^Cannot read .*absent: ENOENT/ })
  t.match(await run(t, 'verify', join(dir, 'empty')), { code: 1, err: /there are none in/ })
  t.match(await run(t, 'dump', dir), { code: 1, err: /^Cannot read .*: EISDIR/ })
  const output = join(dir, 'absent', 'database')
  writeFileSync(join(dir, 'empty', SNAPSHOT), readFileSync(join(FIXTURES, 'v3-block-snapshot.ltx')))
  t.match(await run(t, 'apply', '-o', output, join(dir, 'empty')), {
    code: 1,
    err: /^Cannot apply LTX files to .*absent.database: ENOENT/,
  })
})

t.test('merge', async (t) => {
  const dir = directory(t)
  const output = join(dir, 'merged')
  mkdirSync(output)
  const merged = join(output, '0000000000000001-0000000000000005.ltx')
  const { out, code } = await run(t, 'merge', '--json', '--v1', '--no-compress', '-o', output, dir)
  t.equal(code, 0)
  t.match(JSON.parse(out), { path: merged, files: 2, maxTxid: '0000000000000005', commit: 2, size: 1152 })
  t.ok(readFileSync(merged).equals(readFileSync(join(FIXTURES, 'v1-compacted.ltx'))), "as Go's compactor merges")

  const text = await run(t, 'merge', '-o', join(dir, 'one.ltx'), merged)
  t.match(text.out, /one.ltx: 1 file merged into \d+ bytes, from TXID 1 to 0{15}5\/[0-9a-f]{16}\n$/)
  t.match(await run(t, 'list', '--json', join(dir, 'one.ltx')), { out: /"version": 3/, code: 0 })
  t.match(await run(t, 'merge', '-o', join(dir, 'none.ltx'), join(dir, NEXT), join(dir, SNAPSHOT)), {
    code: 1,
    err: /^Broken LTX chain: /,
  })
})
