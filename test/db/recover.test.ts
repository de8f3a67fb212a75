// A replica's database after a crash: its WAL is its own, and its LTX files say where in the primary's they are from.
import fs from 'node:fs'
import path from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { databaseLayout } from '../../src/db/layout.js'
import { recoverDatabase } from '../../src/db/recover.js'
import { Model } from './ltx-model.js'
import { silent } from './traced-writes.js'

/** What SQLite makes of one transaction after the other: files, and the content that they are. */
interface Moment {
  readonly database: Buffer
  readonly wal: Buffer
  readonly content: Buffer
}

function moments(t: Test): Moment[] {
  const file = path.join(t.testdir({}), 'source.db')
  const db = new Sqlite(file)
  db.exec('PRAGMA page_size = 512; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a, b)')
  const found: Moment[] = []
  for (let n = 0; n < 6; n++) {
    db.exec(`INSERT INTO t VALUES (${n}, randomblob(${n === 4 ? 5000 : 300}))`)
    found.push({ database: fs.readFileSync(file), wal: fs.readFileSync(`${file}-wal`), content: db.serialize() })
  }
  db.close()
  return found
}

/** A replica with the LTX files of the first `ltxCount` moments and the files of the moment `at`, counted from 1. */
async function recovered(t: Test, all: readonly Moment[], ltxCount: number, at: number) {
  const dataDir = t.testdir({})
  const layout = databaseLayout(dataDir, 'a.db')
  fs.mkdirSync(layout.ltxDir, { recursive: true })
  const primary = new Model(layout.ltxDir)
  const wal = { walOffset: 32, walSize: 536, walSalt1: 1, walSalt2: 2, nodeId: 7n }
  for (const { content } of all.slice(0, ltxCount)) primary.commit(content, 512, undefined, wal)
  const here = all[at - 1]
  if (here === undefined) throw new Error(`there is no moment ${at}`)
  fs.writeFileSync(layout.database, here.database)
  fs.writeFileSync(layout.wal, here.wal)
  const { state } = await recoverDatabase(layout, {
    sink: {
      append: (file, bytes) => {
        fs.writeFileSync(file, bytes)
        return 1
      },
      adopt: () => 1,
      sync: () => {},
      undo: () => {},
    },
    nodeId: 8n,
    compress: false,
    syncEveryCommit: false,
    now: () => 0,
    mayCommit: () => true,
    log: silent,
    superJournalExists: () => false,
  })
  t.notOk(fs.existsSync(layout.wal))
  return {
    txid: Number(state.txid),
    content: fs.readFileSync(layout.database),
    ltx: fs.readdirSync(layout.ltxDir).sort(),
  }
}

t.test('content that is behind its LTX files catches up', async (t) => {
  const all = moments(t)
  for (const [ltxCount, at] of [
    [4, 3],
    [5, 4],
    [6, 3],
    [6, 5],
    [2, 1],
  ] as const) {
    const { txid, content, ltx } = await recovered(t, all, ltxCount, at)
    t.equal(txid, ltxCount, `${ltxCount} LTX files, content of ${at}`)
    t.ok(content.equals(all[ltxCount - 1]?.content ?? Buffer.of()))
    t.equal(ltx.length, ltxCount)
  }
})

t.test('content that is ahead of them is captured, with as many TXIDs as it had', async (t) => {
  const all = moments(t)
  for (const [ltxCount, at] of [
    [3, 3],
    [3, 4],
    [3, 6],
    [1, 2],
  ] as const) {
    const { txid, content, ltx } = await recovered(t, all, ltxCount, at)
    t.equal(txid, at, `${ltxCount} LTX files, content of ${at}`)
    t.ok(content.equals(all[at - 1]?.content ?? Buffer.of()))
    t.equal(ltx.length, ltxCount + (at > ltxCount ? 1 : 0))
  }
})

t.test('what the system writes in part only is written to its end', async (t) => {
  const all = moments(t)
  const { writeSync } = fs
  const inParts = (fd: number, bytes: Uint8Array, start: number, length: number, offset: number) =>
    writeSync(fd, bytes, start, Math.min(length, 300), offset)
  t.teardown(() => Object.assign(fs, { writeSync }))
  Object.assign(fs, { writeSync: inParts })
  for (const [ltxCount, at] of [
    [3, 3],
    [4, 3],
    [3, 4],
  ] as const) {
    const { content } = await recovered(t, all, ltxCount, at)
    t.ok(
      content.equals(all[Math.max(ltxCount, at) - 1]?.content ?? Buffer.of()),
      `${ltxCount} LTX files, content of ${at}`,
    )
  }
})
