// A transaction that was in the WAL, whole, when its sync failed, so that SQLite gave it up; and a writer who begins to overwrite it and gets no
// further either, or the last connection that ends the WAL. Once the node has taken it back nobody may find it in the WAL: not its next start, and
// not SQLite's recovery, where the disk did not let the WAL go.
import { constants } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../servers/programs.js'
import { agree } from './agreement.js'
import { FailingCalls } from './failing-calls.js'
import { type Mount, startMount } from './harness.js'
import { positionOf } from './judges.js'

/** Of a commit there are fewer; what is written in the background comes between them. */
const CALLS = 8
const TRIES = 200
const QUIET_MS = 100

type Ending = 'SIGTERM' | 'SIGKILL'

/** Makes the disk fail at one call after the other until it is the sync of a commit, and leaves it failing. */
async function failSync(db: Database.Database, disk: FailingCalls): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    await delay(QUIET_MS)
    disk.arm({ at: 1 + (tries % CALLS), allAfter: true, errno: constants.errno.EIO, torn: false })
    const code = insert(db)
    if (code === 'SQLITE_IOERR_FSYNC') return
    disk.disarm()
    if (code !== undefined) db.prepare('SELECT count(*) FROM t').get()
  }
  throw new Error(`Cannot have the sync of a commit fail in ${TRIES} tries`)
}

function insert(db: Database.Database): string | undefined {
  try {
    db.exec("INSERT INTO t(x) VALUES('a row')")
    return undefined
  } catch (error) {
    return (error as { code: string }).code
  }
}

const writers: Record<string, (db: Database.Database, disk: FailingCalls) => void> = {
  'is refused': (db) => {
    t.match(insert(db), 'SQLITE_IOERR')
  },
  'does not commit': (db, disk) => {
    disk.disarm()
    // A cache too small for the transaction has its pages go to the WAL before.
    db.pragma('cache_size = 2')
    db.exec('BEGIN; INSERT INTO t(x) SELECT randomblob(3000) FROM t, t LIMIT 6')
  },
}

function start(t: Test, disk: FailingCalls, dataDir: string): Promise<Mount> {
  return startMount(t, { dataDir, env: disk.env })
}

async function begin(t: Test) {
  const dataDir = path.join(await temporaryDirectory(t, 'orphan'), 'data')
  const disk = await FailingCalls.build(t, dataDir)
  const mount = await start(t, disk, dataDir)
  const open = () => {
    const db = new Database(path.join(mount.dir, 'a.db'))
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0')
    return db
  }
  const db = open()
  db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) VALUES('one'), ('two'), ('three')")
  return { dataDir, disk, mount, open, db }
}

async function orphan(t: Test, what: string, ending: Ending): Promise<void> {
  const { dataDir, disk, mount, db } = await begin(t)
  await failSync(db, disk)
  const { txid } = await positionOf(mount.dir, 'a.db')
  writers[what]?.(db, disk)
  disk.disarm()
  if (ending === 'SIGTERM') t.equal(await mount.stop(), 0)
  else await mount.kill('SIGKILL')
  db.close()
  const again = await start(t, disk, dataDir)
  // A disk that takes nothing lets nobody overwrite it either: it may be there then.
  if (what !== 'is refused') t.equal((await positionOf(again.dir, 'a.db')).txid, txid, 'it is not there')
  await agree(t, again, 'a.db')
  t.equal(await again.stop(), 0)
}

for (const what of Object.keys(writers)) {
  for (const ending of ['SIGTERM', 'SIGKILL'] as const)
    t.test(`a writer who ${what}, and ${ending}`, (t) => orphan(t, what, ending))
}

t.test('the last connection, where calls fail', async (t) => {
  const { disk, mount, open, db: first } = await begin(t)
  first.close()
  for (let at = 1; at <= CALLS; at++) {
    const db = open()
    await failSync(db, disk)
    disk.disarm()
    await delay(QUIET_MS)
    disk.arm({ at, allAfter: true, errno: constants.errno.EIO, torn: false })
    db.close()
    disk.disarm()
    const again = open()
    const before = again.prepare('SELECT count(*) FROM t').pluck().get()
    t.equal(insert(again), undefined)
    t.equal(again.prepare('SELECT count(*) FROM t').pluck().get(), Number(before) + 1)
    await agree(t, mount, 'a.db')
    again.close()
    await agree(t, mount, 'a.db')
  }
  t.equal(await mount.stop(), 0)
})
