import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import t from 'tap'
import { listLtxDirectory } from '../../src/db/ltx-directory.js'
import { readLtxSummary } from '../../src/db/ltx-file.js'
import { rebuildDatabase } from '../../src/db/ltx-rebuild.js'
import { checkChain } from '../../src/ltx/chain.js'
import { CHECKSUM_FLAG, checksumFromHalves, lockPage } from '../../src/ltx/checksum.js'
import { pageChecksum } from '../../src/native.js'
import { CHANGE, encodeLtx, randomFrom } from '../ltx/forge.js'
import { Model, pagesOf } from './ltx-model.js'

const SHARED = fileURLToPath(new URL('../../../shared/fixtures', import.meta.url))

t.test('a chain that grows, shrinks, drops, starts again and changes its page size', async (t) => {
  const dir = t.testdir({ ltx: {} })
  const model = new Model(join(dir, 'ltx'))
  const random = randomFrom(3)
  const target = join(dir, 'database')
  model.commit(pagesOf(random, 3))
  for (let round = 0; round < 60; round++) {
    const pages = model.bytes.length / model.pageSize
    const commit = Math.max(1, pages + random(7) - 3)
    const bytes = Buffer.concat([model.bytes, Buffer.alloc(3 * 4096)]).subarray(0, commit * model.pageSize)
    const touched = new Set(Array.from({ length: Math.max(0, commit - pages) }, (_, i) => pages + 1 + i))
    for (let i = random(4); i >= 0; i--) touched.add(1 + random(commit))
    for (const pgno of touched) pagesOf(random, 1, model.pageSize).copy(bytes, (pgno - 1) * model.pageSize)
    model.commit(
      bytes,
      model.pageSize,
      [...touched].sort((a, b) => a - b),
    )
    if (round === 20) model.commit(Buffer.alloc(0))
    if (round === 21) model.commit(pagesOf(random, 5))
    if (round === 40) model.commit(pagesOf(random, 2, 4096), 4096)
  }
  const entries = listLtxDirectory(join(dir, 'ltx'))
  t.same(
    entries.map((entry) => entry.path),
    model.paths,
  )
  checkChain(entries.map((entry) => readLtxSummary(entry.path)))

  const result = await rebuildDatabase(target, model.paths)
  t.ok(readFileSync(target).equals(model.bytes))
  t.same(result, {
    pageSize: 4096,
    pageCount: model.bytes.length / 4096,
    position: { txid: model.txid, checksum: model.checksum() },
  })
  t.same(readdirSync(dir).sort(), ['database', 'ltx'])
})

t.test('pages that SQLite left out read as zeros', async (t) => {
  const dir = t.testdir()
  const model = new Model(dir)
  const bytes = pagesOf(randomFrom(4), 6)
  model.commit(bytes.subarray(0, 1024))
  bytes.fill(0, 1024, 2048)
  bytes.fill(0, 2560)
  model.commit(bytes, 512, [5])
  await rebuildDatabase(join(dir, 'database'), model.paths)
  t.ok(readFileSync(join(dir, 'database')).equals(bytes))
})

t.test('what cannot be applied leaves the target as it was', async (t) => {
  const dir = t.testdir({ database: 'as it was' })
  const target = join(dir, 'database')
  const random = randomFrom(5)
  const chain = (name: string, second: (model: Model) => void, from = 0) => {
    const model = new Model(mkdtempSync(join(dir, 'ltx-')))
    model.commit(pagesOf(random, 3))
    second(model)
    return { name, paths: model.paths.slice(from) }
  }
  const next = () => pagesOf(random, 3)
  for (const { name, paths } of [
    chain('starts at TXID 0000000000000002', (model) => void model.commit(next()), 1),
    chain('0000000000000002 should come next', (model) => {
      model.txid++
      model.commit(next())
    }),
    chain('checksum is .* where the file of TXID 0000000000000002 needs', (model) => {
      model.commit(next(), 512, undefined, { preApplyChecksum: CHECKSUM_FLAG | 5n })
    }),
    chain('checksum after it should be', (model) => void model.commit(next(), 512, [2])),
    chain(
      'changes the page size to 1024 and lacks 1 pages',
      (model) => void model.commit(pagesOf(random, 2, 1024), 1024, [2]),
    ),
    chain('lacks 4294967290 of the new pages', (model) => void model.commit(next(), 512, [], { commit: 0xfffffffe })),
    chain('its checksum is', (model) => {
      const path = model.commit(next())
      const file = readFileSync(path)
      writeFileSync(path, file.fill(file.readUInt8(200) ^ 1, 200, 201))
    }),
    { name: 'there are no LTX files', paths: [] },
  ]) {
    await t.rejects(rebuildDatabase(target, paths), { name: 'LtxError', message: new RegExp(name) })
    t.equal(readFileSync(target, 'utf8'), 'as it was')
    t.notOk(existsSync(`${target}.rebuild`))
  }
  await t.rejects(rebuildDatabase(target, [join(dir, 'absent')]), { code: 'ENOENT' })
})

t.test('a database beyond the lock page, on a base', async (t) => {
  const dir = t.testdir()
  const [base, target, path] = ['base', 'database', 'change.ltx'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ]
  const db = new Database(base)
  db.pragma('page_size = 65536')
  db.exec("create table t (x); insert into t values ('kept')")
  db.close()
  const before = readFileSync(base)
  const model = new Model(dir)
  Object.assign(model, { bytes: before, pageSize: 65536 })
  const lock = lockPage(65536)

  // The database that a sparse file gives: the base, zeros, and two pages around the lock page.
  const sums = new Uint32Array(2)
  let [hi, lo] = [0, 0]
  const page = Buffer.alloc(65536)
  for (let pgno = 1; pgno <= lock + 1; pgno++) {
    if (pgno === lock) continue
    const at = (pgno - 1) * 65536
    const bytes = at < before.length ? before.subarray(at, at + 65536) : page.fill(pgno === lock + 1 ? 7 : 0)
    pageChecksum(sums, 0, pgno, bytes, 0, bytes.length)
    hi ^= sums[0] ?? 0
    lo ^= sums[1] ?? 0
  }
  const header = { ...CHANGE, pageSize: 65536, commit: lock + 1, preApplyChecksum: model.checksum() }
  const pages = [{ pgno: lock + 1, data: page.fill(7) }]
  writeFileSync(path, encodeLtx(header, pages, checksumFromHalves(hi, lo), { compress: true }))
  const result = await rebuildDatabase(target, [path], base)
  t.equal(result.pageCount, lock + 1)
  t.ok(readFileSync(base).equals(before), 'the base is only read')
  const changed = new Database(base)
  changed.exec("insert into t values ('and added')")
  changed.close()
  await t.rejects(rebuildDatabase(target, [path], base), { message: /checksum before it should be/ })
  await t.rejects(rebuildDatabase(target, [path], path), { message: /not a SQLite database/ })
})

t.test("Litestream's replica restores", async (t) => {
  if (!existsSync(SHARED)) {
    t.comment(`${SHARED} is not there: restoring a replica of Litestream not checked`)
    return
  }
  const target = join(t.testdir(), 'database')
  const paths = ['9', '0'].flatMap((level) => listLtxDirectory(join(SHARED, 'litestream/ltx', level)))
  await rebuildDatabase(
    target,
    paths.map((entry) => entry.path),
  )
  const db = new Database(target)
  t.same(db.prepare('select count(*) as rows from t').get(), { rows: 202 })
  t.equal(db.pragma('integrity_check', { simple: true }), 'ok')
  db.close()
})
