// A WAL that the disk does not let go: SQLite ends with it all the same, or hears of it, and whoever comes next goes on behind its frames. What is
// committed then must be captured like anything else.
import { constants } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t from 'tap'
import { temporaryDirectory } from '../servers/programs.js'
import { agree } from './agreement.js'
import { FailingCalls } from './failing-calls.js'
import { startMount } from './harness.js'
import { positionOf } from './judges.js'

/** The last of the calls by which a WAL is ended, and those of the background, are no more. */
const CALLS = 12
/** In which what is written in the background is written. */
const QUIET_MS = 100

const endings: Record<string, (db: Database.Database) => void> = {
  'is removed': (db) => db.close(),
  'is cut': (db) => {
    db.pragma('wal_checkpoint(TRUNCATE)')
  },
}

for (const [what, end] of Object.entries(endings)) {
  t.test(`calls that fail while a WAL ${what}`, async (t) => {
    const dataDir = path.join(await temporaryDirectory(t, 'stays'), 'data')
    const disk = await FailingCalls.build(t, dataDir)
    const mount = await startMount(t, { dataDir, env: disk.env })
    const file = path.join(mount.dir, 'a.db')
    const open = () => {
      const db = new Database(file)
      db.exec('PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t(a, b)')
      return db
    }
    for (let at = 1; at <= CALLS; at++) {
      const db = open()
      db.exec('INSERT INTO t VALUES (1, randomblob(3000))')
      await delay(QUIET_MS)
      disk.arm({ at, allAfter: true, errno: constants.errno.EIO, torn: false })
      try {
        end(db)
      } catch (error) {
        t.match(error, { code: /^SQLITE_IOERR/ })
      }
      disk.disarm()
      if (db.open) db.close()
      const before = BigInt(`0x${(await positionOf(mount.dir, 'a.db')).txid}`)
      const again = open()
      again.exec('INSERT INTO t VALUES (2, randomblob(3000))')
      const after = BigInt(`0x${(await positionOf(mount.dir, 'a.db')).txid}`)
      t.ok(after > before, `call ${at}: what is committed next is captured`)
      again.close()
      await agree(t, mount, 'a.db')
    }
    t.equal(await mount.stop(), 0)
  })
}
