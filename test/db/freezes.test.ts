import fs from 'node:fs'
import t from 'tap'
import { Freezes } from '../../src/db/freezes.js'
import { databaseLayout } from '../../src/db/layout.js'

t.test('who reads a copy of a database that gets another name ends it where he began', async (t) => {
  const dir = t.testdir({ dbs: { a: { database: 'one page' } } })
  const [source, target] = [new Freezes(), new Freezes()]
  const start = { pageSize: 8, pageCount: 1, position: { txid: 1n, checksum: 1n }, walEnd: 0, onFailure: () => {} }
  const freeze = source.begin(databaseLayout(dir, 'a'), start)
  source.handTo(target)
  t.same([source.size, target.size], [0, 1])
  source.end(freeze)
  t.equal(target.size, 0, 'nothing is kept for him any more')
  t.throws(() => fs.fstatSync(freeze.pages.keptFd), { code: 'EBADF' })
})
