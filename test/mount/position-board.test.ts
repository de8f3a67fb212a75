import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { PositionBoard } from '../../src/mount/position-board.js'

const NEVER = new AbortController().signal
const FAR_FUTURE = 0xffff_ffff_ffff_ffffn

/** A thread that does what the file-system thread does when a transaction is final: slot 1 is at `txid` after `delayMs`. */
function laterElsewhere(board: PositionBoard, txid: bigint, delayMs: number): void {
  const code = `
    const { memory, txid, delayMs } = require('node:worker_threads').workerData
    const slots = new BigInt64Array(memory)
    setTimeout(() => { Atomics.store(slots, 1, txid); Atomics.notify(slots, 1) }, delayMs)`
  const worker = new Worker(code, { eval: true, workerData: { memory: board.memory, txid, delayMs } })
  t.teardown(() => worker.terminate())
}

t.test('positions are seen by whoever has the memory', async (t) => {
  const board = new PositionBoard(['a.db', 'b.db'])
  const other = new PositionBoard(board.names, board.memory)
  other.update('b.db', FAR_FUTURE)
  t.equal(board.txid('b.db'), FAR_FUTURE)
  t.equal(board.txid('a.db'), 0n)
  other.updateAll(new Map([['a.db', { position: { txid: 7n } }]]))
  t.equal(board.txid('a.db'), 7n)
  t.equal(board.txid('b.db'), 0n, 'a database that is not there any more')
  other.countRefusedWrite()
  other.countRefusedWrite()
  t.equal(board.refusedWrites, 2)
})

t.test('whoever waits is woken by the transaction, also from another thread, and nobody else is', async (t) => {
  const board = new PositionBoard(['a.db'])
  board.update('a.db', 5n)
  t.equal(await board.reached('a.db', 5n, NEVER), true, 'there already')
  const order: bigint[] = []
  const wait = async (txid: bigint) => {
    if (await board.reached('a.db', txid, NEVER)) order.push(txid)
  }
  const waits = [wait(8n), wait(6n), wait(9n)]
  board.update('a.db', 6n)
  await waits[1]
  t.strictSame(order, [6n])
  laterElsewhere(board, 9n, 20)
  await Promise.all(waits)
  t.strictSame(order.slice(1).sort(), [8n, 9n])
})

t.test('a wait that is given up is over at once and leaves nothing that keeps others from theirs', async (t) => {
  const board = new PositionBoard(['a.db'])
  for (let n = 0; n < 100; n++) {
    const abort = new AbortController()
    const wait = board.reached('a.db', FAR_FUTURE, abort.signal)
    abort.abort()
    t.equal(await wait, false)
  }
  t.equal(await board.reached('a.db', 1n, AbortSignal.abort()), false)
  const wait = board.reached('a.db', 2n, NEVER)
  board.update('a.db', 1n)
  t.equal(await Promise.race([wait, delay(20, 'waits')]), 'waits')
  board.update('a.db', 3n)
  t.equal(await wait, true)
})
