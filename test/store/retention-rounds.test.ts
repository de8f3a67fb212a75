import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { databaseLayout } from '../../src/db/layout.js'
import { formatLtxName } from '../../src/ltx/names.js'
import { LtxTally } from '../../src/store/ltx-tally.js'
import { NEEDED_FACTOR, RetentionRounds } from '../../src/store/retention-rounds.js'

const RETENTION_MS = 60_000
const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** A database with files 1 to 10 of 10 to 100 bytes, each as old as given, milliseconds. */
async function database(dataDir: string, ageMs: (txid: number) => number) {
  const layout = databaseLayout(dataDir, 'a.db')
  const { ltxDir } = layout
  fs.mkdirSync(ltxDir, { recursive: true })
  for (let txid = 1; txid <= 10; txid++) {
    const file = path.join(ltxDir, formatLtxName(BigInt(txid), BigInt(txid)))
    fs.writeFileSync(file, Buffer.alloc(10 * txid))
    const seconds = (Date.now() - ageMs(txid)) / 1000
    fs.utimesSync(file, seconds, seconds)
  }
  const tally = new LtxTally(ltxDir)
  await tally.count()
  const add = async (files: readonly string[]) => {
    for (const file of files) fs.rmSync(file)
  }
  const rounds = new RetentionRounds(
    {
      databases: () => [{ name: 'a.db', layout }],
      tallyOf: () => tally,
      spares: { resting: false, nextRound: async () => {}, add },
      sync: async () => {},
      log: silent,
    },
    { retentionMs: RETENTION_MS, retentionIntervalMs: 0 },
  )
  const first = async () => {
    await rounds.run()
    const names = fs.readdirSync(ltxDir).sort()
    const bytes = names.reduce((sum, name) => sum + fs.statSync(path.join(ltxDir, name)).size, 0)
    const { minTxid, maxTxid, count, reapCount } = tally.counts
    t.strictSame([count, tally.counts.bytes, maxTxid, reapCount], [names.length, bytes, 10n, 10 - names.length])
    t.equal(names[0], formatLtxName(minTxid, minTxid))
    return Number(minTxid)
  }
  return { rounds, tally, first }
}

t.test('what a connected replica needs is kept, up to a multiple of the retention', async (t) => {
  // From 3 on none is hopelessly old, from 9 on none is expired.
  const hopelessMs = (NEEDED_FACTOR + 1) * RETENTION_MS
  const ageMs = (txid: number) => (txid < 3 ? hopelessMs : txid < 9 ? 2 * RETENTION_MS : 0)
  const { rounds, first } = await database(t.testdir(), ageMs)
  rounds.needed = new Map([['a.db', 1n]])
  t.equal(await first(), 3)
  rounds.needed = new Map([['a.db', 5n]])
  t.equal(await first(), 5)
  rounds.needed = new Map([['other.db', 1n]])
  t.equal(await first(), 9)
})

t.test('files that come while others are counted are counted once', async (t) => {
  const { tally } = await database(t.testdir(), () => 0)
  const counting = tally.count()
  tally.stored({ minTxid: 11n, maxTxid: 12n, bytes: 7 })
  tally.stored({ minTxid: 13n, maxTxid: 13n, bytes: 5 })
  tally.undone()
  await counting
  t.match(tally.counts, { minTxid: 1n, maxTxid: 12n, count: 11, bytes: 557 })
})
