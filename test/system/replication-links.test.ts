// A primary and a replica in network namespaces of their own, and the link between them is cut.
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { createBank, startBankClient } from './bank.js'
import { type Mount, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { getIn, type LinkedNamespaces, linkNamespaces } from './namespaces.js'
import { eventually, inSync, linesSince, same, startReplica } from './replicas.js'

const PORT = 20202
/** Three heartbeats, and what it takes to say so on a busy machine. */
const NOTICED_MS = 3000 + 1500
/** The primary's, http/pings.ts. */
const DROPPED_MS = 4 * 2000 + 3000

async function startPrimary(t: Parameters<typeof startMount>[0], { via, addresses }: LinkedNamespaces): Promise<Mount> {
  return await startMount(t, { via: via[0], configExtra: { http: { addr: `${addresses[0]}:${PORT}` } } })
}

function startOther(t: Parameters<typeof startReplica>[0], { via, addresses }: LinkedNamespaces): Promise<Mount> {
  const configExtra = { http: { addr: `${addresses[1]}:${PORT}` } }
  return startReplica(t, `http://${addresses[0]}:${PORT}`, { via: via[1], configExtra })
}

t.test('a link that is cut under a writer, and comes back', async (t) => {
  const net = await linkNamespaces(t)
  const primary = await startPrimary(t, net)
  const file = path.join(primary.dir, 'wal.db')
  await createBank(file)
  const replica = await startOther(t, net)
  await inSync(t, { primary, replica }, 'wal.db')
  const writer = await startBankClient(t, 'write', 1, [file])
  const reader = await startBankClient(t, 'read', 2, [path.join(replica.dir, 'wal.db')])
  await delay(300)

  const logged = replica.output().length
  const cutMs = Date.now()
  await net.cut()
  await delay(300)
  t.strictSame((await writer.end())?.problems, [])
  await eventually('the loss in the log', NOTICED_MS, async () => linesSince(replica, logged, 'cannot follow')[0])
  t.ok(Date.now() - cutMs < NOTICED_MS, `noticed after ${Date.now() - cutMs} ms`)
  await eventually('the replica dropped', DROPPED_MS, async () => {
    const metrics = await getIn(net.via[0], `${primary.url}/metrics`)
    return metrics.includes('litefs_http_stream_count 0') || undefined
  })
  t.equal(linesSince(primary, 0, 'stream disconnected').length, 1)
  const complaints = linesSince(replica, logged, 'cannot follow')
  t.ok(complaints.length <= 4, `a line for each reason, not for each attempt: ${complaints.join('\n')}`)
  t.equal(new Set(complaints).size, complaints.length)
  t.match(await getIn(net.via[1], `${replica.url}/health/ready`), '"ready": true', 'it goes on serving reads')

  await net.restore()
  await eventually('the replica following again', 20_000, async () => {
    return linesSince(replica, logged, 'following the primary again')[0]
  })
  await inSync(t, { primary, replica }, 'wal.db')
  t.strictSame((await reader.end())?.problems, [])
  await same(t, { primary, replica }, 'wal.db')
  t.equal(linesSince(replica, logged, 'following the primary again').length, 1)
})

t.test('a link that is cut under a snapshot', async (t) => {
  const net = await linkNamespaces(t)
  const primary = await startPrimary(t, net)
  await createBank(path.join(primary.dir, 'a.db'))
  const replica = await startOther(t, net)
  await inSync(t, { primary, replica }, 'a.db')
  await net.slow(100)
  const received = async () => (await readdir(replica.dataDir)).find((name) => name.startsWith('received-'))

  await sqlite(
    path.join(primary.dir, 'b.db'),
    `BEGIN; CREATE TABLE t(a); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<20)
     INSERT INTO t SELECT randomblob(1000000) FROM c; COMMIT;`,
  )
  await eventually('the beginning of the file', 20_000, received)
  const logged = replica.output().length
  await net.cut()
  await eventually('the loss in the log', NOTICED_MS, async () => linesSince(replica, logged, 'cannot follow')[0])
  t.equal(await received(), undefined, 'what had arrived is removed')
  t.notOk((await readdir(replica.dir)).includes('b.db'), 'nothing of it is to be seen')
  await net.restore()
  for (const name of ['a.db', 'b.db']) await same(t, { primary, replica }, name)
})
