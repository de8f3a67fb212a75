// A connection that stays open on a primary which is lost with a schema change that nobody else got, while the next one makes another.
import { randomInt } from 'node:crypto'
import path from 'node:path'
import t from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { agree } from './agreement.js'
import { agreeing, FILE, startCluster } from './clusters.js'
import { sqlite } from './judges.js'
import { eventually } from './replicas.js'
import { Shell } from './shell.js'

needsMounting()

for (const mode of ['wal', 'delete']) {
  t.test(`two schemas of one cookie, journal_mode=${mode}`, async (t) => {
    const { places, primary } = await startCluster(t, 2)
    const [first, second] = places
    if (first === undefined || second === undefined) throw new Error('two nodes')
    const file = path.join(first.dir, FILE)
    await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE both(a); INSERT INTO both VALUES(1)`)
    await agreeing(t, first, [second])
    await second.mount.kill('SIGKILL')
    // Which reads what it has changed, so that it knows the schema.
    const shell = new Shell(file)
    t.teardown(() => shell.kill())
    const cookie = await shell.execute('CREATE TABLE mine(a); INSERT INTO mine VALUES(7); PRAGMA schema_version')
    t.equal(await shell.execute('SELECT a FROM mine'), '7\n')
    first.signal('SIGSTOP')
    await second.start()
    await primary([second])
    const other = path.join(second.dir, FILE)
    const rows = Array.from({ length: 200 }, () => randomInt(1 << 30))
    const theirs = `CREATE TABLE theirs(b); INSERT INTO theirs VALUES ${rows.map((row) => `(${row})`).join(',')}`
    t.equal(await sqlite(other, `${theirs}; PRAGMA schema_version`), cookie, 'both have come to the same number')
    first.signal('SIGCONT')
    await first.mount.waitForLine('existing primary found')
    await eventually('what the second node has', 20_000, async () => {
      const seen = await sqlite(file, "SELECT count(*) FROM sqlite_schema WHERE name='theirs'").catch(() => '')
      return seen === '1\n' || undefined
    })
    const sum = rows.reduce((a, b) => a + b)
    t.equal(await shell.execute('SELECT sum(b) FROM theirs'), `${sum}\n`, 'it reads what is there')
    await t.rejects(shell.execute('SELECT a FROM mine'), /no such table: mine/, 'and knows what is not')
    await agreeing(t, second, [first])
    await agree(t, second.mount, FILE)

    await second.mount.kill('SIGKILL')
    await primary([first])
    await shell.execute('INSERT INTO theirs VALUES(1)')
    t.equal(
      await shell.execute('SELECT sum(b) FROM theirs'),
      `${sum + 1}\n`,
      'as the primary again it writes where it should',
    )
    await agree(t, first.mount, FILE)
  })
}
