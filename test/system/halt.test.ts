// Writing on a replica under the halt lock: each commit is on the primary before SQLite believes in it, whatever ends in between.
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { runHalted, spawnLocker, sqliteHalted, startHaltNodes, startLocker } from './halt-nodes.js'
import { litefsScript, run } from './harness.js'
import { sqlite } from './judges.js'
import { eventually, linesSince, same } from './replicas.js'
import { isLong, roundsOf } from './rounds.js'
import { Shell, tracedShell } from './shell.js'

t.setTimeout(10 * 60_000)

/** Of a halt lock that is to expire, milliseconds: a third of it may pass on a busy machine. */
const TTL_MS = 2000
const REFUSED = /disk I\/O error|readonly database/
/** A reader that closes a database on a replica may want to write its checkpoint. */
const TROUBLE = /level=(?:ERROR|WARN) msg="(?!write to db refused)/
const COUNT = 'SELECT count(*) FROM t'

/** Inserts rows one by one, and prints each number once it is committed. `argv`: file, name of the writer, how many. */
const writerScript = `
  const Database = require('better-sqlite3')
  const [, file, name, count] = process.argv
  const db = new Database(file, { timeout: 20000 })
  const insert = db.prepare('INSERT INTO t VALUES(?)')
  for (let n = 0; n < Number(count); n++) { insert.run(name + n); console.log(n) }
`

for (const mode of isLong ? ['wal', 'delete', 'truncate', 'persist'] : ['delete']) {
  t.test(`litefs run -with-halt-lock-on, ${mode}`, async (t) => {
    const nodes = await startHaltNodes(t, mode)
    const { primary, here, there, name } = nodes
    t.match(await run('sqlite3', [here, "INSERT INTO t VALUES('x')"]), { stderr: REFUSED })

    const sql = `INSERT INTO t VALUES('here'); BEGIN; DELETE FROM t; ROLLBACK;
      BEGIN; INSERT INTO t SELECT hex(randomblob(2000)) FROM generate_series(1, 1000); COMMIT;
      DELETE FROM t WHERE length(a) > 100 AND rowid % 3 > 0; VACUUM; ${COUNT}; PRAGMA integrity_check;`
    t.match(await sqliteHalted(here, sql), { code: 0, stdout: '336\nok\n', stderr: '' })
    t.equal(await sqlite(there, COUNT), '336\n', 'the primary has it at once')
    await same(t, nodes, name)
    await sqlite(there, "INSERT INTO t VALUES('there')")
    await same(t, nodes, name)
    t.match(await run('sqlite3', [here, "INSERT INTO t VALUES('x')"]), { stderr: REFUSED }, 'no longer')

    const other = mode === 'wal' ? 'delete' : 'wal'
    const change = `PRAGMA journal_mode=${other}; INSERT INTO t VALUES('after'); INSERT INTO t VALUES('after');`
    t.match(await sqliteHalted(here, change), { code: 0, stdout: `${other}\n`, stderr: '' })
    t.equal(await sqlite(there, `${COUNT}; PRAGMA journal_mode`), `339\n${other}\n`)
    await sqlite(there, "INSERT INTO t VALUES('there')")
    await same(t, nodes, name)

    t.match(await runHalted(here, ['sh', '-c', 'exit 7']), { code: 7 })
    t.match(await sqliteHalted(there, "INSERT INTO t VALUES('primary'); SELECT changes()"), { code: 0, stdout: '1\n' })
    await same(t, nodes, name)
    t.notMatch(primary.output() + nodes.replica.output(), TROUBLE)
  })
}

t.test('writers on both nodes at once, and what is acknowledged is there', async (t) => {
  for (const mode of isLong ? ['wal', 'delete'] : ['wal']) {
    const nodes = await startHaltNodes(t, mode)
    const { here, there, name } = nodes
    const count = roundsOf(15)
    const local = run(process.execPath, ['-e', writerScript, there, 'there', String(5 * count)])
    const halted = async () => {
      for (let n = 0; n < 2; n++) {
        const words = [process.execPath, '-e', writerScript, here, `here-${n}-`, String(count)]
        t.match(await runHalted(here, words), { code: 0, stderr: '' })
      }
    }
    const [{ code, stderr }] = await Promise.all([local, halted()])
    t.match({ code, stderr }, { code: 0, stderr: '' }, 'the writer on the primary only had to wait')
    t.equal(await sqlite(there, COUNT), `${1 + 7 * count}\n`)
    await same(t, nodes, name)
    t.notMatch(nodes.primary.output() + nodes.replica.output(), TROUBLE)
  }
})

t.test('F_OFD_SETLKW on byte 72: waits, ends with the process, is nothing on the primary', async (t) => {
  const { here, there, primary, replica, name } = await startHaltNodes(t, 'wal')
  const holder = await startLocker(t, here)
  t.equal(holder.answer, 'locked')
  t.match(await run('sqlite3', [there, "INSERT INTO t VALUES('busy')"]), { code: 5, stderr: /locked/ })
  t.equal(await sqlite(there, COUNT), '1\n', 'the primary is read meanwhile')
  await sqlite(here, "INSERT INTO t VALUES('under the lock')")
  const second = startLocker(t, here)
  await holder.kill()
  const next = await second
  t.equal(next.answer, 'locked', 'who waits gets it when its holder is killed')
  await next.unlock()
  await sqlite(there, "INSERT INTO t VALUES('free')")
  await same(t, { primary, replica }, name)
  const [first, other] = [await startLocker(t, there), await startLocker(t, there)]
  t.same([first.answer, other.answer], ['locked', 'locked'])
  await sqlite(there, "INSERT INTO t VALUES('still free')")

  const blocker = new Shell(there)
  t.teardown(() => blocker.kill())
  await blocker.execute('BEGIN IMMEDIATE')
  const waiting = spawnLocker(t, here)
  await eventually('a program that waits for the mount', 20_000, async () => {
    // proc(5): the number of the system call, and its arguments, of which the second is F_OFD_SETLKW.
    return / 0x26 /.test(await readFile(`/proc/${waiting.pid}/syscall`, 'utf8')) || undefined
  })
  await waiting.kill()
  await replica.waitForLine('the primary cannot be reached: nobody wants the halt lock any more')
  await blocker.execute('COMMIT')
  await eventually('the end of the third lock', 20_000, async () => {
    return primary.output().match(/halt lock of db (?:released|has ended)/g)?.length === 3 || undefined
  })
  await sqlite(there, "INSERT INTO t VALUES('nobody holds it')")

  const refused = async (words: string[], stderr: RegExp) =>
    t.match(await run(process.execPath, [litefsScript, 'run', ...words, '--', 'true']), { code: 1, stderr })
  await refused(['-with-halt-lock-on', `${here}x`], /there is no such database/)
  await refused(['-with-halt-lock-on', litefsScript], /in a mount of litefs/)
  await refused(['-promote', '-with-halt-lock-on', here], /exclude each other/)
  await primary.kill('SIGKILL')
  await refused(['-with-halt-lock-on', here], /there is no primary, or it does not answer/)
})

/** The holder's connection commits, and hears an error; afterwards the replica has what the primary has. */
async function failsHere(t: Test, shell: Shell, what: string): Promise<void> {
  await t.rejects(shell.execute("INSERT INTO t VALUES('unsure')"), REFUSED, what)
}

for (const mode of isLong ? ['wal', 'delete'] : ['delete']) {
  t.test(`a lost answer, a cut connection, a refusal, ${mode}`, async (t) => {
    const nodes = await startHaltNodes(t, mode)
    const { here, there, name, proxy, primary } = nodes
    const holder = await startLocker(t, here)
    const shell = new Shell(here)
    t.teardown(() => shell.kill())
    await shell.execute("INSERT INTO t VALUES('sure')")

    proxy.fault = { loseAnswerTo: 'POST /tx' }
    // It may succeed: SQLite itself writes the rest of a write again of which the kernel tells that a part was done.
    await shell.execute("INSERT INTO t VALUES('lost')").catch((error: Error) => t.match(error.message, REFUSED))
    proxy.fault = 'none'
    await same(t, nodes, name)
    t.equal(await sqlite(there, COUNT), '3\n', 'so it arrives by the stream')
    await shell.execute("INSERT INTO t VALUES('sure')")

    proxy.fault = 'cut'
    await failsHere(t, shell, 'the primary does not hear of it')
    proxy.fault = 'none'
    await shell.execute("INSERT INTO t VALUES('sure')")
    await same(t, nodes, name)

    const [, id = ''] = /halt lock of db taken by another node" db=db id=(\d+)/.exec(primary.output()) ?? []
    const answer = await fetch(`${primary.url}/halt?name=db&id=${id}`, { method: 'DELETE' })
    t.equal(answer.status, 200)
    await failsHere(t, shell, 'the primary refuses')
    await failsHere(t, shell, 'and again')
    await same(t, nodes, name)
    await holder.unlock()
    t.equal(await sqlite(here, "SELECT count(*) FROM t WHERE a='sure'"), '3\n')
  })
}

t.test(
  'a writer killed between its commit and the wal-index: the replica has the transaction all the same',
  async (t) => {
    const nodes = await startHaltNodes(t, 'wal')
    const { here, there, name } = nodes
    const survivor = new Shell(here)
    t.teardown(() => survivor.kill())
    await survivor.execute(COUNT)
    const holder = await startLocker(t, here)
    // So that the WAL has begun, and its header is no longer what is synced.
    await survivor.execute("INSERT INTO t VALUES('earlier')")
    const sql = "PRAGMA synchronous=full; INSERT INTO t VALUES('orphan');\n"
    t.match(await tracedShell(here, sql, 'fdatasync:signal=SIGKILL:when=1'), { killed: true, stderr: '' })
    t.equal(await sqlite(there, COUNT), '3\n', 'the primary has committed it')
    await same(t, nodes, name)
    t.equal(await survivor.execute(COUNT), '3\n', 'readers that were there see it')
    await survivor.execute("INSERT INTO t VALUES('next')")
    await same(t, nodes, name)
    await holder.unlock()
  },
)

t.test('a holder that is silent for too long has lost the lock', async (t) => {
  const nodes = await startHaltNodes(t, 'wal', TTL_MS)
  const { here, there, name, primary, replica } = nodes
  const holder = await startLocker(t, here)
  const shell = new Shell(here)
  t.teardown(() => shell.kill())
  await shell.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES('late')")
  await delay(TTL_MS + 500)
  t.match(await run('sqlite3', [there, "INSERT INTO t VALUES('busy')"]), { code: 5 }, 'it was renewed meanwhile')
  process.kill(replica.pid, 'SIGSTOP')
  await primary.waitForLine(`its holder was silent for ${TTL_MS} ms`)
  await sqlite(there, "INSERT INTO t VALUES('there')")
  process.kill(replica.pid, 'SIGCONT')
  await t.rejects(shell.execute('COMMIT'), REFUSED)
  await shell.kill()
  await same(t, nodes, name)
  t.equal(await sqlite(here, 'SELECT group_concat(a) FROM t'), 'first,there\n')
  await holder.unlock()
})

for (const mode of isLong ? ['wal', 'delete'] : ['wal']) {
  t.test(`a daemon is killed at any time, ${mode}`, async (t) => {
    const nodes = await startHaltNodes(t, mode, TTL_MS)
    const { name } = nodes
    let { primary, replica } = nodes
    for (let round = 0; round < roundsOf(1); round++) {
      const before = Number(await sqlite(nodes.there, COUNT))
      const words = [process.execPath, '-e', writerScript, nodes.here, `${mode}${round}-`, '100000']
      const writing = runHalted(nodes.here, words)
      await eventually('commits', 20_000, async () => {
        const count = Number(await sqlite(nodes.there, COUNT))
        return count > before + 5 + 7 * round || undefined
      })
      const killsPrimary = round % 2 === 0
      const start = primary.output().length
      await (killsPrimary ? primary : replica).kill('SIGKILL')
      const { stdout } = await writing
      if (killsPrimary) primary = await nodes.restartPrimary()
      else replica = await nodes.restartReplica()
      await same(t, { primary, replica }, name)
      const acknowledged = stdout.trim().split('\n').length
      const found = Number(await sqlite(nodes.there, COUNT)) - before
      t.ok(found === acknowledged || found === acknowledged + 1, `${acknowledged} acknowledged, ${found} there`)
      t.strictSame(linesSince(primary, start, 'level=ERROR'), [])
    }
  })
}
