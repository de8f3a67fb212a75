// What a commit makes the daemon read and write does not depend on how large the database and its WAL are. Time would say little on a busy machine;
// `npm run bench -- --only large --only growing-wal` measures it.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { agree } from './agreement.js'
import { startMount } from './harness.js'
import { Shell } from './shell.js'

const COMMITS = 30
const MEGABYTES = 16
const QUIET_MS = 150
/** What is done in the background varies. Eight bytes for each page would be 31 kB more, a header of each frame 190 kB. */
const MOST_DIFFERENCE = 2

/**
 * Bytes that a process has read and written so far (proc(5)), once it has been idle for a while. Not its calls: while it waits for the next
 * request it asks again and again.
 */
async function transferredBy(pid: number): Promise<number> {
  for (let before = ''; ; await delay(QUIET_MS)) {
    const text = await readFile(`/proc/${pid}/io`, 'latin1')
    const [, read, written] = /^rchar: (\d+)\nwchar: (\d+)/.exec(text) ?? []
    if (text === before) return Number(read) + Number(written)
    before = text
  }
}

t.test('a commit reads and writes the same with a small WAL, a large one, and a large database', async (t) => {
  const mount = await startMount(t, { configExtra: { data: { retention: '24h' } } })
  const shell = new Shell(path.join(mount.dir, 'a.db'))
  t.teardown(() => shell.kill())
  await shell.execute(`PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL;
    CREATE TABLE counter(n); INSERT INTO counter VALUES(0); CREATE TABLE large(b);`)
  const ofCommits = async () => {
    const before = await transferredBy(mount.pid)
    for (let n = 0; n < COMMITS; n++) await shell.execute('UPDATE counter SET n=n+1')
    return ((await transferredBy(mount.pid)) - before) / COMMITS
  }
  await ofCommits()
  const small = await ofCommits()
  for (let part = 0; part < 2; part++)
    await shell.execute(`INSERT INTO large VALUES(randomblob(${MEGABYTES / 2}000000))`)
  await shell.execute('UPDATE large SET b=randomblob(length(b))')
  const withWal = await ofCommits()
  await shell.execute('PRAGMA wal_checkpoint(TRUNCATE)')
  const withDatabase = await ofCommits()
  t.comment('for each commit:', { small, withWal, withDatabase })
  for (const bytes of [withWal, withDatabase])
    t.ok(bytes < MOST_DIFFERENCE * small, `${bytes} bytes, with little ${small}`)
  await shell.close()
  await agree(t, mount, 'a.db')
})
