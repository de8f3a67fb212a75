// A backup through changes of the primary: the next one goes on with it, and one that does not know yet that it is none any more leaves it alone
// (the latter with LITEFS_TEST_ROUNDS=1 only; test/backup/database-backup.test.ts has it without nodes).
import path from 'node:path'
import t, { type Test } from 'tap'
import { backedUp, backupConfig, metric, names, restored, sameAsLitestream, sql, WAIT_MS } from './backups.js'
import { type Place, startCluster, TTL_MS } from './clusters.js'
import { startMount } from './harness.js'
import { contentHash, positionOf } from './judges.js'
import { eventually, inSync } from './replicas.js'
import { isLong } from './rounds.js'

const NAME = 'my.db'
const UPLOADS_ONLY = { levels: [], 'l0-retention': '0s' }
const ANEW = /all of it is uploaded|writes there, too/

const rowsOf = (file: string) => sql(file, 'select group_concat(a) from t')

/** Commits on a node, and waits for its backup. Gives the content. */
async function written(place: Place, row: number): Promise<string> {
  await sql(path.join(place.dir, NAME), `insert into t values (${row}, hex(randomblob(3000)))`)
  await backedUp(place.mount, NAME)
  return await contentHash(path.join(place.dir, NAME))
}

/** Each upload is the state after one row, whoever wrote it, and the next one after the one before. */
async function rightThroughout(t: Test, backup: string, states: readonly string[]): Promise<void> {
  const uploads = await names(path.join(backup, NAME, 'ltx/0'))
  t.equal(uploads.length, states.length, 'nothing is uploaded twice')
  for (const [i, wanted] of states.entries()) {
    const { file } = await restored(t, `file://${backup}/${NAME}`, { txid: BigInt(i + 1) })
    t.equal(await contentHash(file), wanted, `TXID ${i + 1}`)
  }
}

t.test('two nodes that begin with one backup, and its way from one to the other and back', async (t) => {
  const backup = path.join(t.testdir(), 'backup')
  const before = await startMount(t, { configExtra: backupConfig(backup, UPLOADS_ONLY) })
  await sql(path.join(before.dir, NAME), 'create table t(a, b)')
  await backedUp(before, NAME)
  await sql(path.join(before.dir, NAME), 'insert into t values (1, hex(randomblob(90000)))')
  t.equal(await before.stop(), 0)
  const states = []
  for (const txid of [1n, 2n]) {
    states.push(await contentHash((await restored(t, `file://${backup}/${NAME}`, { txid })).file))
  }
  const { position } = await restored(t, `file://${backup}/${NAME}`)

  const begin = { ...UPLOADS_ONLY, 'restore-if-db-not-exists': true, bootstrap: true }
  const cluster = await startCluster(t, 2, TTL_MS, 'etcd', () => ({ configExtra: backupConfig(backup, begin) }))
  const [one, two] = cluster.places
  if (one === undefined || two === undefined) throw new Error('two nodes')
  await one.mount.waitForLine(`${NAME} restored from`)
  await inSync(t, { primary: one.mount, replica: two.mount }, NAME)
  const { txid, checksum } = await positionOf(two.dir, NAME)
  t.strictSame(
    position,
    { txid: BigInt(`0x${txid}`), checksum: BigInt(`0x${checksum}`) },
    'both are where the backup is',
  )
  t.match(two.mount.output(), `${NAME} begins with its backup`)
  states.push(await written(one, 2))
  t.ok(Number.isNaN(await metric(two.mount, 'litefs_backup_txid', NAME)), 'one of them uploads')

  await inSync(t, { primary: one.mount, replica: two.mount }, NAME)
  await one.mount.kill('SIGKILL')
  t.equal(await cluster.primary([two]), two)
  states.push(await written(two, 3))
  await one.start()
  await one.mount.waitForLine('existing primary found')
  await inSync(t, { primary: two.mount, replica: one.mount }, NAME)
  states.push(await written(two, 4))
  t.ok(Number.isNaN(await metric(one.mount, 'litefs_backup_txid', NAME)), 'the old primary does not')
  await inSync(t, { primary: two.mount, replica: one.mount }, NAME)
  t.equal(await two.mount.stop(), 0)
  t.equal(await cluster.primary([one]), one)
  states.push(await written(one, 5))
  await rightThroughout(t, backup, states)
  for (const { mount } of [one, two]) t.notMatch(mount.output(), ANEW)
  t.equal(await rowsOf(await sameAsLitestream(t, `file://${backup}/${NAME}`, 'of both')), '1,2,3,4,5\n')
})

if (isLong) t.test('a primary that stood still, and finds its backup gone on with', (t) => stoodStill(t))

async function stoodStill(t: Test): Promise<void> {
  const backup = path.join(t.testdir(), 'backup')
  // What is committed last before it stands still is not uploaded by then.
  const slow = backupConfig(backup, { ...UPLOADS_ONLY, 'sync-interval': '3s' })
  const fast = backupConfig(backup, UPLOADS_ONLY)
  const equip = ({ hostname }: Place) => ({ configExtra: hostname === 'n1' ? slow : fast })
  const { places, primary } = await startCluster(t, 2, TTL_MS, 'etcd', equip)
  const [one, two] = places
  if (one === undefined || two === undefined) throw new Error('two nodes')
  await sql(path.join(one.dir, NAME), 'create table t(a, b)')
  await backedUp(one.mount, NAME)
  const states = [await contentHash(path.join(one.dir, NAME))]
  await sql(path.join(one.dir, NAME), 'insert into t values (1, 2)')
  await inSync(t, { primary: one.mount, replica: two.mount }, NAME)
  one.signal('SIGSTOP')
  t.equal(await primary([two]), two)
  await backedUp(two.mount, NAME)
  states.push(await contentHash(path.join(two.dir, NAME)))
  states.push(await written(two, 2))
  one.signal('SIGCONT')
  await eventually('the old primary following', WAIT_MS, async () => {
    return (await one.info()).primary.hostname === 'n2' || undefined
  })
  states.push(await written(two, 3))
  await inSync(t, { primary: two.mount, replica: one.mount }, NAME)
  await rightThroughout(t, backup, states)
  for (const { mount } of [one, two]) t.notMatch(mount.output(), /all of it is uploaded/)
}
