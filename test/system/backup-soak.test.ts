// Writes, merges, full copies and removals while the daemon is killed again and again: every point that the backup has must be the database as it
// was then. Each restored database tells its position, and the content at each position was written down.
// LITEFS_SOAK_MS=1800000 for long.
import path from 'node:path'
import t from 'tap'
import { BackupPath } from '../../src/backup/backup-path.js'
import { DEFAULT_ACCESS, openStorage } from '../../src/backup/open-storage.js'
import { backedUp, FAST, restored, sql } from './backups.js'
import { startMount } from './harness.js'
import { contentHash, positionOf } from './judges.js'

const SOAK_MS = Number(process.env['LITEFS_SOAK_MS'] ?? 5000)
const LIFE_MS = 2500
const POINTS_PER_LIFE = 3

t.test('what was there at any point', { timeout: SOAK_MS * 4 + 60_000 }, async (t) => {
  const directory = path.join(t.testdir(), 'backup')
  const url = `file://${directory}/my.db`
  const backup = { ...FAST, url: `file://${directory}`, snapshot: { interval: '1500ms', retention: '6s' } }
  const hashes = new Map<string, string>()
  let place: { dataDir: string; mountDir: string } | undefined
  let checked = 0
  for (const start = Date.now(); Date.now() - start < SOAK_MS; ) {
    // Kept no longer than a moment: what is not uploaded then is gone.
    const data = { retention: '2s', 'retention-monitor-interval': '500ms' }
    const mount = await startMount(t, { configExtra: { backup, data }, ...place })
    place = { dataDir: mount.dataDir, mountDir: mount.dir }
    const file = path.join(mount.dir, 'my.db')
    await sql(file, 'pragma journal_mode = wal; create table if not exists t(a integer primary key, b)')
    for (const born = Date.now(); Date.now() - born < LIFE_MS; ) {
      const mode = Math.random() < 0.2 ? 'pragma journal_mode = delete;' : 'pragma journal_mode = wal;'
      const change = Math.random() < 0.1 ? 'delete from t; vacuum' : 'insert into t(b) values (hex(randomblob(5000)))'
      await sql(file, mode)
      await sql(file, `begin; ${change.replace('; vacuum', '')}; commit; ${change.includes('vacuum') ? 'vacuum' : ''}`)
      hashes.set((await positionOf(mount.dir, 'my.db')).txid, await contentHash(file))
    }
    if (Math.random() < 0.5) await backedUp(mount, 'my.db')
    await mount.kill('SIGKILL')
    const from = new BackupPath(await openStorage(url, DEFAULT_ACCESS, {}), '')
    const ends = [...new Set((await from.allFiles(false)).map(({ maxTxid }) => maxTxid))]
    for (let i = 0; i < POINTS_PER_LIFE; i++) {
      const txid = ends[Math.floor(Math.random() * ends.length)]
      const found = await restored(t, url, { txid }).catch((error: Error) => error)
      // The oldest points go with the snapshots that they led on from.
      if (found instanceof Error) {
        t.match(found.message, /there are no files|nothing leads to|without a snapshot/)
        continue
      }
      const wanted = hashes.get(found.position?.txid.toString(16).padStart(16, '0') ?? '')
      // Content is written down after each change, not between the two transactions that some take.
      if (wanted !== undefined) t.equal(await contentHash(found.file), wanted, `TXID ${found.position?.txid}`)
      if (wanted !== undefined) checked++
    }
  }
  t.ok(checked > 0, `${checked} points compared`)
  const mount = await startMount(t, { configExtra: { backup }, ...place })
  const wanted = await contentHash(path.join(mount.dir, 'my.db'))
  t.equal(await mount.stop(), 0)
  t.equal(await contentHash((await restored(t, url)).file), wanted, 'the last state')
})
