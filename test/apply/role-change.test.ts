// A mount whose role changes while programs have its database open, and a transaction is going on.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { sqlite } from '../system/judges.js'
import { applying, startNode } from './nodes.js'
import { Primary } from './primary.js'
import { connect } from './readers.js'

/** What SQLite says when a write is refused. */
const REFUSED = /SQLITE_(READONLY|IOERR)/
/** How long a writer may take that is at work when the role changes, milliseconds. */
const PATIENCE_MS = 10_000

needsMounting()

/** A replica that has the primary's accounts, a connection that stays open, and a large transaction in it that does not end. */
async function start(t: Test, mode: string) {
  const base = mkdtempSync(path.join(tmpdir(), 'litefs-role-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const node = await startNode(t, base)
  const primary = new Primary(path.join(base, 'primary.db'), ['synchronous = OFF', `journal_mode = ${mode}`])
  t.teardown(async () => {
    primary.db.close()
  })
  const send = (bytes: Buffer) => node.ask(applying(primary, bytes))
  await send(primary.createAccounts())
  const local = connect(t, path.join(node.dir, 'db'))
  await local.rows('PRAGMA synchronous = FULL')
  await local.rows('PRAGMA cache_size = 20')
  const begin = async () => {
    await local.rows('BEGIN IMMEDIATE')
    await local.rows('INSERT INTO account(balance, note) SELECT 0, randomblob(3000) FROM account, (VALUES (1), (2))')
  }
  const agrees = async (what: string) => {
    t.ok((await local.content()).equals(primary.db.serialize()), `${what}: the same content`)
    t.equal(await local.value('PRAGMA integrity_check'), 'ok', what)
  }
  return { node, primary, send, local, begin, agrees, primaryFile: path.join(node.dir, '.primary') }
}

t.test('a node that was the primary becomes it again, with a log that is not copied to the database', async (t) => {
  const { node, primary, send, local } = await start(t, 'WAL')
  await send(primary.move())
  for (const balance of [1, 2, 3]) {
    await node.ask({ role: 'primary' })
    await local.rows(`INSERT INTO account(balance, note) VALUES (${balance}, randomblob(9000))`)
    await node.ask({ role: 'replica' })
  }
  await node.ask({ role: 'primary' })
  t.equal(await local.value('SELECT count(*) FROM account WHERE length(note) = 9000'), 3)
  t.equal(await local.value('PRAGMA integrity_check'), 'ok')
})

for (const mode of ['WAL', 'DELETE', 'PERSIST'] as const) {
  t.test(`what is going on when a node stops being the primary, ${mode}`, async (t) => {
    const { node, primary, send, local, begin, agrees, primaryFile } = await start(t, mode)
    t.equal(readFileSync(primaryFile, 'utf8'), 'primary\n')
    await t.rejects(local.rows('UPDATE account SET balance = 1'), REFUSED)

    await node.ask({ role: 'primary' })
    t.notOk(existsSync(primaryFile), '.primary is gone')
    await node.ask({ fence: 'closed' })
    await t.rejects(local.rows('UPDATE account SET balance = 1'), REFUSED, 'nothing is acknowledged without a lease')
    await agrees('after a refused commit')
    await node.ask({ fence: 'open' })

    await begin()
    const forced = await node.ask({ role: 'replica' })
    t.equal(forced, undefined)
    await t.rejects(local.rows('COMMIT'), REFUSED, 'a transaction that was going on')
    await local.rows('ROLLBACK').catch(() => {})
    t.equal(await local.value('SELECT count(*) FROM account'), 100, 'is undone')
    await send(primary.move()).catch(() => send(primary.snapshot()))
    await agrees('after a change in the middle of a transaction')

    await node.ask({ role: 'primary' })
    await begin()
    const busy = node.ask({ role: 'replica', waitMs: PATIENCE_MS })
    await local.rows('COMMIT')
    t.strictSame(await busy, [], 'a writer is waited for')
    t.equal(await local.value('SELECT count(*) FROM account'), 300, 'his transaction counts')
    t.equal(await readFile(primaryFile, 'utf8'), 'primary\n')
    const lagMs = Number(await readFile(path.join(node.dir, '.lag'), 'utf8'))
    t.ok(lagMs < 60_000, `${lagMs} ms behind: until now it was the primary`)
    await t.rejects(local.rows('UPDATE account SET balance = 1'), REFUSED, 'the next one is refused')

    primary.move()
    await send(primary.snapshot())
    await agrees('after a snapshot that does not have it')
    await node.ask({ role: 'primary' })
    // The node may write to it, too, for those who would not notice what has changed.
    await local.rows('PRAGMA busy_timeout = 5000')
    await local.rows('UPDATE account SET balance = balance + 1')
    t.equal(await local.value('SELECT min(balance) > 900 FROM account'), 1)
    await local.close()
    await node.stop()
  })
}

t.test('a writer that does not end is not waited for longer than that', async (t) => {
  const { node, begin } = await start(t, 'DELETE')
  await node.ask({ role: 'primary' })
  await begin()
  t.match(await node.ask({ role: 'replica', waitMs: 100 }), [/others have held it/])
  await node.stop()
})

t.test('nor is one that has a database with a log for itself', async (t) => {
  const { node, local } = await start(t, 'WAL')
  await node.ask({ role: 'primary' })
  await local.rows('PRAGMA locking_mode = EXCLUSIVE')
  await local.rows('UPDATE account SET balance = balance + 1')
  t.match(await node.ask({ role: 'replica', waitMs: 100 }), [/others have held it for 100 ms/])
  await node.stop()
})

t.test('a connection that idles while the node follows a fork and leads again', async (t) => {
  const { node, primary, send, local } = await start(t, 'DELETE')
  const file = path.join(node.dir, 'db')
  const idle = connect(t, file)
  await local.rows('PRAGMA busy_timeout = 5000')
  const sum = 'SELECT sum(balance) FROM account'
  await node.ask({ role: 'primary' })
  await local.rows('UPDATE account SET balance = 1005')
  t.equal(await idle.value(sum), 100_500)

  await node.ask({ role: 'replica' })
  // Of each account another amount: the same change to two pages leaves the checksum of a database as it was.
  primary.run(() => primary.db.exec('UPDATE account SET balance = balance - id'))
  const sending = send(primary.snapshot())
  const isNew = async () => (await local.value(sum)) === 94_950
  while (!(await isNew()));
  await sending
  t.pass('another transaction has taken its place, under the same change counter')

  await node.ask({ role: 'primary' })
  await local.rows('UPDATE account SET balance = balance - 5')
  await local.close()
  // Whoever closes it last ends the log, which may be the node itself.
  while (existsSync(`${file}-wal`)) t.equal(await sqlite(file, sum), '94450\n')
  t.equal(await idle.value(sum), 94_450)
  t.equal(await idle.value('PRAGMA integrity_check'), 'ok')
  await idle.rows('UPDATE account SET balance = balance - 1')
  t.equal(await idle.value(sum), 94_350)
  await idle.close()
  await node.stop()
})
