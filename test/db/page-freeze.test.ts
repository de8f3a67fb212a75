// A database that is kept as it is for a reader: at every moment between two transactions it has to be just what SQLite reads.
import path from 'node:path'
import t from 'tap'
import type { Database } from '../../src/db/database.js'
import { readFrozenPages } from '../../src/db/frozen-pages.js'
import { freezeDurable } from '../../src/store/freeze-durable.js'
import { testDirectory } from './crash-points.js'
import { loadTrace, PlainDirectory, TracedNode } from './traced-writes.js'

const TRACES = ['wal-full', 'wal-psow', 'wal-exclusive', 'modes', 'delete', 'truncate', 'persist', 'super']

async function frozenContent(database: Database): Promise<Buffer | undefined> {
  const freeze = database.freeze((error) => {
    throw error
  })
  if (freeze === undefined) return undefined
  await freeze.prepare()
  const pages: Buffer[] = []
  for await (const { bytes } of readFrozenPages(freeze.pages)) pages.push(Buffer.from(bytes))
  database.freezes.end(freeze)
  return Buffer.concat(pages)
}

for (const trace of TRACES) {
  t.test(`a copy after each statement of ${trace}`, async (t) => {
    const dir = testDirectory(t)
    const node = await TracedNode.open(path.join(dir, 'node'))
    const plain = new PlainDirectory(path.join(dir, 'plain'))
    let copies = 0
    for (const call of loadTrace(trace)) {
      node.do(call)
      plain.do(call)
      if (call[0] !== 'ack') continue
      for (const [name, database] of node.databases) {
        if (database.state.pageCount === 0) continue
        const content = await frozenContent(database)
        if (content === undefined) continue
        t.ok(content.equals(plain.content(name)), name)
        copies++
      }
    }
    t.ok(copies > 3, `${copies} copies`)
    await node.close()
  })
}

t.test('a database that is dropped while one waits for its last transaction is none', async (t) => {
  const node = await TracedNode.open(path.join(testDirectory(t), 'node'))
  for (const call of loadTrace('delete')) node.do(call)
  const database = [...node.databases.values()].find(({ state }) => state.pageCount > 0)
  if (database === undefined) throw new Error('the trace leaves one')
  const settle = async () => {
    if (database.state.pageCount > 0) database.remove('database')
    return false
  }
  const parts = { durableTxid: () => database.state.txid, settle, onFailure: () => {} }
  t.equal(await freezeDurable(database, parts), undefined)
  await node.close()
})
