import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { HaltDesk } from '../../src/halt/desk.js'
import { haltTtlMs } from '../../src/halt/ttl.js'
import type { Position } from '../../src/ltx/names.js'
import type { FileSystemThread } from '../../src/mount/file-system-thread.js'
import type { Question } from '../../src/mount/messages.js'
import type { ReceivedLtx } from '../../src/replication/incoming-file.js'
import { silent } from '../http/node.js'

const TTL_MS = 150
const GONE_MS = 100
const ONE = { nodeId: '00000000000000AA', renews: true }
const OTHER = { nodeId: '00000000000000BB', renews: true }

/** A transaction of one TXID that follows `position`. */
function transaction({ txid, checksum }: Position, postApply: bigint): ReceivedLtx {
  const header = {
    minTxid: txid + 1n,
    maxTxid: txid + 1n,
    preApplyChecksum: checksum,
    commit: 1,
    pageSize: 512,
    flags: 0,
  }
  const rest = { timestamp: 0, walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0, nodeId: 0n }
  const trailer = { postApplyChecksum: postApply, fileChecksum: 0n }
  return { header: { ...header, ...rest }, trailer, body: { bytes: new Uint8Array() } }
}

function start(t: Test, ttlMs = TTL_MS) {
  const asked: string[] = []
  const state = { position: { txid: 5n, checksum: 55n }, isOpen: true, isServing: true, holdMs: 0, failure: '' }
  const answer = ({ kind }: Question) => {
    asked.push(kind)
    if (kind === 'databases') return [{ name: 'a.db', pageCount: 1 }]
    return kind === 'halt' || kind === 'secure' ? state.position : undefined
  }
  const ask: FileSystemThread['ask'] = async (question) => answer(question) as never
  const desk = new HaltDesk({
    thread: { ask },
    applier: {
      hold: async () => {
        await delay(state.holdMs)
        return { pid: 1, failures: [] }
      },
      release: async () => {
        asked.push('let go')
      },
      applyHeld: async (_name, { maxTxid, postApply }) => {
        if (state.failure !== '') throw new Error(state.failure)
        state.position = { txid: maxTxid, checksum: postApply }
        return state.position
      },
    },
    fence: {
      get isOpen() {
        return state.isOpen
      },
    },
    isServing: () => state.isServing,
    isLate: () => false,
    isFollowing: () => true,
    ttlMs,
    goneMs: GONE_MS,
    log: silent,
  })
  t.teardown(() => desk.close('the test has ended'))
  return { desk, state, asked }
}

t.test('one lock, once, for one', async (t) => {
  const { desk, asked } = start(t)
  const { position } = await desk.take('a.db', 7n, ONE, false)
  t.strictSame(position, { txid: 5n, checksum: 55n })
  t.match(await desk.take('a.db', 7n, ONE, false), { id: 7n }, 'again it is the same')
  t.match(await desk.take('a.db', 7n, ONE, true), { id: 7n })
  t.strictSame(asked, ['databases', 'halt'])
  await t.rejects(desk.take('a.db', 8n, OTHER, true), { message: /expired/ }, 'nothing to go on with')
  await t.rejects(desk.take('b.db', 8n, OTHER, false), { message: /no such database/ })
  const other = desk.take('a.db', 8n, OTHER, false)
  await desk.release('a.db', 9n)
  t.equal(desk.count, 1, 'only its holder releases it')
  await desk.release('a.db', 7n)
  t.match(await other, { id: 8n }, 'who waits is next')
})

t.test('a lock ends with the silence of its holder, and with his going while he waits', async (t) => {
  const { desk, state } = start(t)
  await desk.take('a.db', 7n, ONE, false)
  for (let n = 0; n < 4; n++) {
    await delay(TTL_MS / 2)
    await desk.take('a.db', 7n, ONE, true)
  }
  t.equal(desk.count, 1)
  const next = desk.take('a.db', 8n, OTHER, false)
  t.match(await next, { id: 8n })
  await t.rejects(desk.commit('a.db', 7n, transaction(state.position, 66n)), { message: /expired/ })
  await desk.release('a.db', 8n)

  state.holdMs = 20
  const taking = desk.take('a.db', 9n, ONE, false)
  await delay(5)
  await desk.release('a.db', 9n)
  await taking
  t.equal(desk.count, 0)
})

t.test('a holder that has forgotten its lock, or is gone, keeps nobody waiting', async (t) => {
  const { desk } = start(t, 600_000)
  const all = new Set([ONE.nodeId, OTHER.nodeId])
  await desk.take('a.db', 7n, ONE, false)
  t.match(await desk.take('a.db', 9n, ONE, false), { id: 9n }, 'at once')
  await t.rejects(desk.take('a.db', 7n, ONE, true), { message: /has expired/ }, 'what was forgotten is not renewed')
  t.equal(desk.count, 1)

  const startMs = performance.now()
  desk.followedBy(all)
  desk.followedBy(new Set([OTHER.nodeId]))
  await desk.take('a.db', 9n, ONE, true)
  await delay(3 * GONE_MS)
  t.equal(desk.count, 1, 'it was heard of again')
  desk.followedBy(all)
  desk.followedBy(new Set())
  t.match(await desk.take('a.db', 8n, OTHER, false), { id: 8n }, 'another one need not wait for the whole time')
  t.ok(performance.now() - startMs < 20_000)
  await desk.release('a.db', 8n)

  await desk.take('a.db', 10n, { ...ONE, renews: false }, false)
  desk.followedBy(all)
  desk.followedBy(new Set())
  await delay(3 * GONE_MS)
  t.equal(desk.count, 1, 'LiteFS does not say that it lives')
})

t.test('how long locks last, from the environment', async (t) => {
  t.equal(haltTtlMs(undefined), 30_000)
  t.equal(haltTtlMs(''), 30_000)
  t.equal(haltTtlMs('200'), 200)
  for (const text of ['30s', '0', '-5', '1.5', 'NaN', '99999999999', '1e3'])
    t.throws(() => haltTtlMs(text), { message: /LITEFS_HALT_TTL_MS is .*not milliseconds/ }, text)
})

t.test('only what follows is committed, by its holder, on a primary', async (t) => {
  const { desk, state } = start(t)
  await t.rejects(desk.commit('a.db', 7n, transaction(state.position, 66n)), { statusCode: 409, message: /expired/ })
  await desk.take('a.db', 7n, ONE, false)
  const first = transaction(state.position, 66n)
  await desk.commit('a.db', 7n, first)
  await desk.commit('a.db', 7n, first)
  t.equal(desk.commitCount, 1, 'what comes again is there')
  for (const lie of [
    transaction({ txid: 5n, checksum: 55n }, 77n),
    transaction({ txid: 6n, checksum: 67n }, 77n),
    transaction({ txid: 7n, checksum: 66n }, 77n),
    { ...first, header: { ...first.header, minTxid: 1n, preApplyChecksum: 0n } },
  ])
    await t.rejects(desk.commit('a.db', 7n, lie), { statusCode: 409, message: /it follows/ })
  state.failure = 'a reader'
  await t.rejects(desk.commit('a.db', 7n, transaction(state.position, 77n)), { statusCode: 503, message: /a reader/ })
  state.failure = ''
  state.isOpen = false
  await t.rejects(desk.commit('a.db', 7n, transaction(state.position, 77n)), { statusCode: 503, message: /lease/ })
  t.strictSame(state.position, { txid: 6n, checksum: 66n })
  await desk.close('another is the primary')
  t.equal(desk.count, 0)
  state.isServing = false
  await t.rejects(desk.take('a.db', 7n, ONE, false), { message: /not the primary/ })
})
