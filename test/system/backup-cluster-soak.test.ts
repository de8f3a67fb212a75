// The backup of a cluster on a real S3 server, while primaries are killed and hand over, and the server is killed: every point that the backup
// has, by TXID and by time, must be what a primary had committed. It runs with LITEFS_SOAK_MS=1800000 only; backup-failover.test.ts and
// backup-faults.test.ts have the parts of it.
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { BackupPath } from '../../src/backup/backup-path.js'
import { DEFAULT_ACCESS, openStorage } from '../../src/backup/open-storage.js'
import { ACCESS_KEY, SECRET_KEY, startRadosgw } from '../servers/radosgw.js'
import { backedUp, FAST, restored, sql } from './backups.js'
import { type Place, startCluster, TTL_MS } from './clusters.js'
import { contentHash, positionOf } from './judges.js'
import { inSync } from './replicas.js'
import { seededRandom } from './rounds.js'

const SOAK_MS = Number(process.env['LITEFS_SOAK_MS'] ?? 0)
const LIFE_MS = 3000
const CHECKS = 3
const NAME = 'my.db'
/** What a writer sees while the primary moves. */
const ELSEWHERE = /readonly|locked|disk I\/O|unable to open|not a database/

/** What a primary had at a TXID. One that was killed may have told nobody of it, and the next one has another. */
interface Point {
  readonly txid: string
  readonly hash: string
  readonly knownMs: number
}

const skip = SOAK_MS > 0 ? false : 'LITEFS_SOAK_MS=600000 runs it'
t.test(
  'a backup through changes of the primary and the server',
  { skip, timeout: SOAK_MS * 4 + 120_000 },
  async (t) => {
    const below = seededRandom(t)
    const s3 = await startRadosgw(t)
    await s3.createBucket('tests')
    const access = { ...DEFAULT_ACCESS, endpoint: s3.endpoint, accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY }
    const snapshot = { interval: '4s', retention: '20s' }
    const keys = { endpoint: s3.endpoint, 'access-key-id': ACCESS_KEY, 'secret-access-key': SECRET_KEY }
    const backup = { ...FAST, ...keys, url: 's3://tests/some', snapshot }
    const cluster = await startCluster(t, 2, TTL_MS, 'etcd', () => ({ configExtra: { backup } }))
    const url = `s3://tests/some/${NAME}`
    const points: Point[] = []

    const commit = async (place: Place) => {
      const file = path.join(place.dir, NAME)
      const change =
        below(10) === 0 ? 'delete from t where a % 3 = 0' : 'insert into t(b) values (hex(randomblob(5000)))'
      await sql(file, `pragma journal_mode = ${below(5) === 0 ? 'delete' : 'wal'};`)
      await sql(file, below(20) === 0 ? 'vacuum' : change)
      const { txid } = await positionOf(place.dir, NAME)
      points.push({ txid, hash: await contentHash(file), knownMs: Date.now() })
    }

    const checkPoints = async () => {
      const storage = await openStorage(url, access, {})
      const ends = (await new BackupPath(storage, '').allFiles(false)).map(({ maxTxid }) => maxTxid)
      await storage.close()
      for (let i = 0; i < CHECKS; i++) {
        const some = points[below(points.length)]
        const txid = ends[below(ends.length)]
        const target = below(2) === 0 || some === undefined ? { txid } : { beforeMs: some.knownMs }
        const found = await restored(t, url, target, access).catch((error: Error) => error)
        // The oldest go with the snapshots that they led on from, also while they are read.
        if (found instanceof Error)
          t.match(found.message, /there are no files|nothing leads to|without a snapshot|NoSuchKey/)
        else await isCommitted(found)
      }
    }

    const isCommitted = async ({ position, file }: Awaited<ReturnType<typeof restored>>) => {
      const hex = position?.txid.toString(16).padStart(16, '0')
      const wanted = points.filter(({ txid }) => txid === hex).map(({ hash }) => hash)
      // Content is written down after each change, not between the two transactions that some take.
      if (wanted.length > 0) t.ok(wanted.includes(await contentHash(file)), `TXID ${hex}`)
    }

    const first = await cluster.primary()
    await sql(path.join(first.dir, NAME), 'create table t(a integer primary key, b)')
    let lives = 0
    for (const start = Date.now(); lives < 2 || Date.now() - start < SOAK_MS; lives++) {
      const place = await cluster.primary()
      const [other] = cluster.places.filter((one) => one !== place)
      if (other === undefined) throw new Error('two nodes')
      const isServerDown = lives % 3 === 1
      if (isServerDown) await s3.kill()
      for (const born = Date.now(); Date.now() - born < LIFE_MS; ) {
        await commit(place).catch(async (error: Error) => {
          if (!ELSEWHERE.test(error.message)) throw error
          await delay(50)
        })
      }
      if (isServerDown) await s3.start()
      if (below(2) === 0) await backedUp(place.mount, NAME)
      if (below(2) === 0) await inSync(t, { primary: place.mount, replica: other.mount }, NAME)
      if (below(2) === 0) await place.mount.kill('SIGKILL')
      else await place.mount.stop()
      await cluster.primary([other])
      await place.start()
      await checkPoints()
    }
    const last = await cluster.primary()
    await commit(last)
    await backedUp(last.mount, NAME)
    const { file } = await restored(t, url, {}, access)
    t.equal(await contentHash(file), await contentHash(path.join(last.dir, NAME)), 'the last state')
    t.comment(`${lives} primaries, ${points.length} points`)
  },
)
