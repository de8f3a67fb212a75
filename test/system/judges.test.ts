import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { run } from './harness.js'
import { checksumAsRead, checksumFromScratch, contentHash, crc64Iso, integrityCheck, sqlite } from './judges.js'

const fixtures = fileURLToPath(new URL('../../../shared/fixtures/ltx-v1', import.meta.url))

t.test("the judges' CRC gives the published check value", async (t) => {
  t.same(crc64Iso([Buffer.from('1234'), Buffer.from('56789')]), { high: 0xb90956c7, low: 0x75a41001 })
})

t.test("the judges' database checksum is the one Go's ltx stored for the same file", async (t) => {
  if (!existsSync(fixtures)) {
    t.comment(`no fixtures at ${fixtures}`)
    return
  }
  const ltx = await readFile(path.join(fixtures, 'snapshot-raw.ltx'))
  const stored = ltx.subarray(ltx.length - 16, ltx.length - 8).toString('hex')
  t.equal(await checksumFromScratch(path.join(fixtures, 'source.db')), stored)
})

t.test('the judges see content, not files', async (t) => {
  const dir = t.testdir()
  const [first, second] = [path.join(dir, 'first.db'), path.join(dir, 'second.db')]
  const rows = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, x'00ff'), (2, NULL);"
  await sqlite(first, rows)
  await sqlite(second, `PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; ${rows}`)
  t.equal(await contentHash(first), await contentHash(second))
  t.equal(await checksumAsRead(first), await checksumFromScratch(first))
  const frozen = path.join(dir, 'frozen.db')
  await sqlite(frozen, `PRAGMA journal_mode = WAL; ${rows}`)
  await sqlite(frozen, `.filectrl persist_wal 1\n.dbconfig no_ckpt_on_close on\nUPDATE t SET b = 4;`)
  const inFile = await checksumFromScratch(frozen)
  const asRead = await checksumAsRead(frozen)
  t.not(asRead, inFile, 'the page in the WAL counts')
  t.equal(await checksumFromScratch(frozen), asRead, 'and is in the file once the last reader has checkpointed')

  await sqlite(second, 'UPDATE t SET b = 3 WHERE a = 2;')
  t.not(await contentHash(first), await contentHash(second))
  t.equal(await integrityCheck(first), 'ok')

  await writeFile(second, (await readFile(first)).fill(0x55, 4096))
  await t.rejects(integrityCheck(second), /malformed/)
  await t.rejects(sqlite(first, 'SELECT * FROM missing;'), /no such table/)
})

t.test("a child process has none of tap's hooks, which take longer than its start", async (t) => {
  const { stdout } = await run(process.execPath, ['-p', "'NODE_OPTIONS' in process.env"])
  t.equal(stdout, 'false\n')
})
