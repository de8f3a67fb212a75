// Transactions of ten megabytes, which a replica writes in many pieces and copies past the kernel's cache, while connections are
// open there that have read, and mapped, what they change.
import path from 'node:path'
import t from 'tap'
import { agree } from './agreement.js'
import { startMount } from './harness.js'
import { sqlite } from './judges.js'
import { inSync, same, startReplica } from './replicas.js'
import { Shell } from './shell.js'

const ROWS = 3000

/** What a row of the `round` has, and what all of them come to. */
const CONTENT = (round: number) => `printf('%d.%.*c', ${round}, 3000 + id % 900, char(97 + ${round}))`
const SEEN = 'SELECT count(*), min(substr(b, 1, 2)), max(substr(b, 1, 2)), sum(length(b)) FROM t'

for (const [pageSize, mode] of [
  [512, 'wal'],
  [4096, 'wal'],
  [65536, 'wal'],
  [4096, 'delete'],
] as const) {
  t.test(`pages of ${pageSize} bytes, journal_mode=${mode}`, async (t) => {
    const primary = await startMount(t)
    const file = path.join(primary.dir, 'a.db')
    const rows = `WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ${ROWS})`
    await sqlite(
      file,
      `PRAGMA page_size=${pageSize}; PRAGMA journal_mode=${mode};
       CREATE TABLE t(id INTEGER PRIMARY KEY, b); INSERT INTO t ${rows} SELECT id, ${CONTENT(0)} FROM n`,
    )
    const pair = { primary, replica: await startReplica(t, primary.url) }
    await same(t, pair, 'a.db')
    const copy = path.join(pair.replica.dir, 'a.db')
    const [mapped, plain] = [new Shell(copy), new Shell(copy)]
    for (const shell of [mapped, plain]) t.teardown(() => shell.kill())
    await mapped.execute('PRAGMA mmap_size=1000000000')
    for (const round of [1, 2, 3]) {
      const before = await plain.execute(SEEN)
      t.match(before, `${ROWS}|${round - 1}.|${round - 1}.|`)
      t.equal(await mapped.execute(SEEN), before)
      if (mode === 'wal') await plain.execute('BEGIN; SELECT id FROM t LIMIT 1')
      await sqlite(file, `UPDATE t SET b = ${CONTENT(round)}`)
      await inSync(t, pair, 'a.db')
      const after = await sqlite(file, SEEN)
      t.equal(await mapped.execute(SEEN), after, 'what was mapped')
      if (mode === 'wal') {
        t.equal(await plain.execute(SEEN), before, 'a snapshot that stays')
        await plain.execute('COMMIT')
      }
      t.equal(await plain.execute(SEEN), after)
    }
    await sqlite(file, `DELETE FROM t WHERE id > ${ROWS / 10}; VACUUM`)
    await same(t, pair, 'a.db')
    t.equal(await mapped.execute(SEEN), await sqlite(file, SEEN))
    await agree(t, pair.replica, 'a.db')
  })
}

t.test('many databases at once, for more than there are buffers', async (t) => {
  const primary = await startMount(t)
  const names = Array.from({ length: 12 }, (_, i) => `${i}.db`)
  const each = (sql: string) => Promise.all(names.map((name) => sqlite(path.join(primary.dir, name), sql)))
  await each('PRAGMA journal_mode=wal; CREATE TABLE t(a, b); INSERT INTO t VALUES(1, randomblob(3000000))')
  const replica = await startReplica(t, primary.url)
  for (const name of names) await same(t, { primary, replica }, name)
  await replica.stop()
  await each('UPDATE t SET b = randomblob(5000000); INSERT INTO t VALUES(2, randomblob(4000000))')
  const again = await startReplica(t, primary.url, { dataDir: replica.dataDir })
  for (const name of names) {
    await same(t, { primary, replica: again }, name)
    await agree(t, again, name)
  }
})
