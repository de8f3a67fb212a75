// Who follows the transactions of a node, when the thread that owns its databases does not do what it is asked.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { formatLtxName } from '../../src/ltx/names.js'
import { LocalSource } from '../../src/replication/local-source.js'
import type { FollowPace } from '../../src/store/commit-feed.js'
import { eventually } from '../system/replicas.js'
import { transactionFile } from './transaction-file.js'

const WAIT_MS = 5000

/** What the owner is asked, each answered by the test. */
class Owner {
  readonly asked: FollowPace[] = []
  readonly #answers: { resolve: () => void; reject: (error: Error) => void }[] = []

  follow(pace: FollowPace): Promise<void> {
    this.asked.push(pace)
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }))
  }

  async status(): Promise<[]> {
    return []
  }

  async freeze(): Promise<undefined> {
    return undefined
  }

  async thaw(): Promise<void> {}

  readonly raised: string[] = []
  canRaise = true

  async raiseSchemaCookie(name: string): Promise<boolean> {
    this.raised.push(name)
    return this.canRaise
  }

  /** Answers the oldest question that has none, once it was asked. */
  async answer(error?: Error): Promise<void> {
    const { resolve, reject } = await eventually('a question', WAIT_MS, async () => this.#answers.shift())
    if (error === undefined) resolve()
    else reject(error)
  }
}

function sourceOf(owner: Owner, recentBytes = 0): LocalSource {
  return new LocalSource({ nodeId: 1n, owner, ltxDir: () => '/nowhere', recentBytes, lingerMs: 1 })
}

t.test('two who want to hear promptly, and are refused', async (t) => {
  const owner = new Owner()
  const source = sourceOf(owner)
  const slow = source.follow('eventually')
  await owner.answer()
  const release = await slow

  const both = Promise.allSettled([source.follow('promptly'), source.follow('promptly')])
  await owner.answer(new Error('not now'))
  t.match(await both, [{ reason: { message: 'not now' } }, { reason: { message: 'not now' } }])
  t.strictSame(owner.asked, ['eventually', 'promptly'], 'asked once for both')

  await owner.answer()
  t.equal(owner.asked[2], 'eventually', 'the one that stayed is followed as before')
  const prompt = source.follow('promptly')
  await owner.answer()
  const releasePrompt = await prompt
  t.equal(owner.asked[3], 'promptly', 'the next one asks again')
  releasePrompt()
  release()
  await owner.answer()
  t.equal(owner.asked[4], 'off')
  source.close()
})

t.test('nobody follows any more, and the owner does not take note', async (t) => {
  const owner = new Owner()
  const source = sourceOf(owner)
  const first = source.follow('eventually')
  await owner.answer()
  const release = await first
  release()
  await owner.answer(new Error('not now'))
  const again = source.follow('eventually')
  await owner.answer()
  ;(await again)()
  await owner.answer()
  t.strictSame(owner.asked, ['eventually', 'off', 'eventually', 'off'])
  source.close()
})

t.test('transactions that the backup has stay in memory for replicas only', async (t) => {
  const owner = new Owner()
  const source = sourceOf(owner, 1 << 20)
  const backup = source.follow('eventually')
  await owner.answer()
  const release = await backup
  const isKept = async (txid: bigint) => (await source.transaction('a.db', txid)) !== undefined
  const take = (...txids: bigint[]) => {
    for (const txid of txids) source.take('a.db', `/nowhere/${txid}`, transactionFile(txid))
  }
  take(2n, 3n, 4n)
  source.take('b.db', '/nowhere/2', transactionFile(2n))
  source.highWater('a.db', 3n)
  t.strictSame(await Promise.all([2n, 3n, 4n].map(isKept)), [false, false, true])
  t.ok((await source.transaction('b.db', 2n)) !== undefined, 'of another database')

  const replica = source.follow('promptly')
  await owner.answer()
  const releaseReplica = await replica
  take(5n)
  source.highWater('a.db', 5n)
  t.strictSame(await Promise.all([4n, 5n].map(isKept)), [true, true])
  releaseReplica()
  release()
  await owner.answer()
  source.close()
})

t.test('files that are to be avoided are not there; what is in memory, and what comes after, is', async (t) => {
  const ltxDir = t.testdir()
  for (const txid of [2n, 3n]) writeFileSync(path.join(ltxDir, formatLtxName(txid, txid)), transactionFile(txid))
  const source = new LocalSource({
    nodeId: 1n,
    owner: new Owner(),
    ltxDir: () => ltxDir,
    recentBytes: 1 << 20,
    lingerMs: 1,
  })
  const found = async () => {
    const transactions = await Promise.all([2n, 3n, 4n].map((txid) => source.transaction('a.db', txid)))
    return transactions.map((transaction) => transaction !== undefined)
  }
  t.strictSame(await found(), [true, true, false])
  source.avoidFiles('a.db', 2n)
  t.strictSame(await found(), [false, true, false])
  source.take('a.db', '/nowhere/2', transactionFile(2n))
  t.strictSame(await found(), [true, true, false])
  source.close()
})

t.test(
  'before a replica with other transactions gets a snapshot the schema cookie is raised, once for where it stands',
  async (t) => {
    const owner = new Owner()
    const source = sourceOf(owner)
    const at = (txid: bigint) => ({ txid, checksum: 7n })
    owner.canRaise = false
    await source.prepareFor('a', at(5n))
    owner.canRaise = true
    await source.prepareFor('a', at(5n))
    await source.prepareFor('a', at(5n))
    t.strictSame(owner.raised, ['a', 'a'], 'again after it could not be done, not after that')
    await source.prepareFor('b', at(5n))
    await source.prepareFor('a', at(6n))
    t.strictSame(owner.raised, ['a', 'a', 'b', 'a'])
  },
)
