import t from 'tap'
import { Session } from '../../src/fuse/session.js'
import { cannedFileSystem } from './canned-file-system.js'
import { KERNEL_REQUESTS } from './kernel-requests.js'

const ROUNDS = 40_000

/** xorshift32: the same rounds every time. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

t.test('mutated requests get a well-formed reply or none', async (t) => {
  const { fileSystem, calls } = cannedFileSystem()
  const session = new Session(fileSystem, {
    forwardLocks: true,
    send: () => t.fail(),
    onError: () => {},
    notify: { now: () => false, soon: async () => false },
    trace: undefined,
  })
  const pick = random(20240607)
  const valid = Object.values(KERNEL_REQUESTS).map((hex) => Buffer.from(hex, 'hex'))
  const interesting = [0, 1, 0x7f, 0x80, 0xff]
  const replies = Buffer.from(session.reply.buffer)
  let answered = 0
  for (let round = 0; round < ROUNDS; round++) {
    const request = Buffer.from(valid[pick(valid.length)] ?? [])
    for (let count = pick(4); count >= 0; count--) {
      // The length field stays, or most rounds would end at the first check.
      request[4 + pick(request.length - 4)] = interesting[pick(8)] ?? pick(256)
    }
    const length = pick(4) === 0 ? pick(request.length + 1) : request.length
    if (length >= 40 && pick(2) === 0) request.writeUInt32LE(length, 0)
    session.request.set(request)
    calls.length = 0
    if (length < 40) {
      t.throws(() => session.handle(length))
      continue
    }
    const written = session.handle(length)
    if (written === 0) continue
    answered++
    const [len, error, unique] = [replies.readUInt32LE(0), replies.readInt32LE(4), replies.readBigUInt64LE(8)]
    const wellFormed = len === written && error <= 0 && error > -512 && (error === 0 || written === 16)
    if (!wellFormed || unique !== request.readBigUInt64LE(8)) t.fail(`round ${round}: ${request.toString('hex')}`)
  }
  t.ok(answered > ROUNDS / 2, `${answered} of ${ROUNDS} answered`)
})
