// What a snapshot replaces, where nobody knows for a while whether the snapshot's transaction counts.
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { needsMounting } from '../needs-mounting.js'
import { applying, startNode } from './nodes.js'
import { Primary } from './primary.js'
import { connect } from './readers.js'

needsMounting()

t.test('own transactions are kept by themselves, and as long as they may be the ones that count', async (t) => {
  const base = mkdtempSync(path.join(tmpdir(), 'litefs-superseding-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const node = await startNode(t, base)
  const pragmas = ['synchronous = OFF', 'journal_mode = DELETE']
  const own = new Primary(path.join(base, 'own.db'), pragmas)
  const theirs = new Primary(path.join(base, 'theirs.db'), pragmas)
  const file = path.join(node.dir, 'db')
  await node.ask(applying(own, own.createAccounts()))
  for (let i = 0; i < 6; i++) await node.ask(applying(own, own.move()))
  const ltx = () => readdirSync(path.join(node.dataDir, 'dbs/db/ltx')).filter((name) => name.endsWith('.ltx'))
  const kept = () => {
    const superseded = path.join(node.dataDir, 'superseded')
    return readdirSync(superseded).map((dir) => readdirSync(path.join(superseded, dir)).sort())
  }
  const history = ltx().sort()
  t.equal(history.length, 7)

  // By its change counter nobody would notice the other database, so it comes as a log; and the wal-index is none, as one that is being made.
  theirs.createAccounts()
  theirs.run(() => theirs.db.exec('CREATE TABLE theirs(a)'))
  const index = openSync(`${file}-shm`, 'w+')
  writeSync(index, Buffer.alloc(32768))
  const snapshot = applying(theirs, theirs.snapshot())
  await t.rejects(node.ask(snapshot), /it was written, but not to the mount/)
  t.strictSame(kept(), [history], 'while nobody knows')
  t.ok(
    history.every((name) => ltx().includes(name)),
    'and they are where they were',
  )

  closeSync(index)
  const reader = connect(t, file)
  t.equal(await reader.value('SELECT count(*) FROM theirs'), 0, 'it counts')
  await node.ask(snapshot)
  await node.ask(applying(theirs, theirs.move()))
  t.strictSame(kept(), [history], 'once, and nothing else')
  t.notOk(
    ltx().some((name) => history.slice(3).includes(name)),
    'and nowhere else',
  )
  t.ok((await reader.content()).equals(theirs.db.serialize()))
  await reader.close()
  await node.stop()
  for (const { db } of [own, theirs]) db.close()
})
