// A reader on a replica that holds its snapshot delays nothing, keeps seeing it, and then lets the WAL go.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { connect } from '../apply/readers.js'
import { startMount } from './harness.js'
import { checksumFromScratch, positionOf } from './judges.js'
import { eventually, inSync, same, startReplica } from './replicas.js'
import { seeded, startWriter } from './timed-writer.js'

const HOLD_MS = 4000
/** From which on a replica cuts its WAL (src/apply/wal-session.ts), and some transactions. */
const MAX_WAL_BYTES = (64 << 20) + (8 << 20)
const STATE = "SELECT sum(id * balance) || ' ' || sum(length(pad)) || ' ' || hex(max(pad)) FROM account"

t.test('a snapshot that is held on a replica', async (t) => {
  const primary = await startMount(t)
  const file = path.join(primary.dir, 'bank.db')
  await seeded(file, 'wal')
  const replica = await startReplica(t, primary.url)
  await inSync(t, { primary, replica }, 'bank.db')
  const { commits, stop } = startWriter(t, file, 'wal')
  await eventually('the first commits', 10_000, async () => commits[10])

  const reader = connect(t, path.join(replica.dir, 'bank.db'))
  await reader.rows('BEGIN')
  const held = await reader.value(STATE)
  const start = await positionOf(replica.dir, 'bank.db')
  for (const endMs = Date.now() + HOLD_MS; Date.now() < endMs; await delay(200)) {
    if ((await reader.value(STATE)) !== held) t.fail('the snapshot changed')
  }
  const end = await positionOf(replica.dir, 'bank.db')
  const applied = Number(BigInt(`0x${end.txid}`) - BigInt(`0x${start.txid}`))
  t.ok(applied > commits.length / 4, `${applied} transactions meanwhile, of ${commits.length}`)
  await reader.rows('COMMIT')
  t.not(await reader.value(STATE), held, 'the next transaction sees the news')

  await delay(500)
  await stop()
  await same(t, { primary, replica }, 'bank.db')
  const { checksum } = await positionOf(replica.dir, 'bank.db')
  const files = path.join(replica.dataDir, 'dbs', 'bank.db')
  await eventually('all of the WAL in the database', 10_000, async () => {
    return (await checksumFromScratch(path.join(files, 'database'))) === checksum || undefined
  })
  const { size } = await stat(path.join(files, 'wal'))
  t.ok(size < MAX_WAL_BYTES, `the WAL has ${size} bytes`)
  await reader.close()
  t.notMatch(replica.output(), /level=ERROR|cannot follow/)
})
