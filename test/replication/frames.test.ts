// Golden bytes: printed by superfly/litefs (v0.5.14), its WriteStreamFrame, chunk.Writer and WritePosMapTo.
import t from 'tap'
import { checkDatabaseName } from '../../src/replication/database-name.js'
import { FrameDecoder, type StreamItem } from '../../src/replication/frame-decoder.js'
import { END_OF_CHUNKS, encodeChunks, encodeFrame, type Frame } from '../../src/replication/frames.js'
import { decodePositionMap, encodePositionMap } from '../../src/replication/position-map.js'

const golden: { frame: Frame; hex: string }[] = [
  { frame: { type: 'ltx', name: 'my.db' }, hex: '000000010000000000000000000000056d792e6462' },
  { frame: { type: 'ready' }, hex: '00000002' },
  { frame: { type: 'drop', name: 'old.db' }, hex: '00000004000000066f6c642e6462' },
  { frame: { type: 'handoff', leaseId: '3f1c-lease' }, hex: '000000050000000a336631632d6c65617365' },
  {
    frame: { type: 'highWater', name: 'my.db', txid: 0x1234567890abcdefn },
    hex: '000000061234567890abcdef000000056d792e6462',
  },
  { frame: { type: 'heartbeat', timestampMs: 1700000000123 }, hex: '000000070000018bcfe5687b' },
  { frame: { type: 'end' }, hex: '00000003' },
]
const goldenChunks = `0003616263012c${'07'.repeat(300)}0000`
const goldenPositions =
  '0000000300000005616c70686100000000000000000000000000000000000000096469722fc3a42e6462fffffffffffffffffedcba9876543210' +
  '000000077a6574612e6462000000000000000a8000000000000001'

/** All items of a stream cut into pieces of at most `pieceSize` bytes; data is copied. */
function decodeAll(bytes: Buffer, pieceSize: number): StreamItem[] {
  const decoder = new FrameDecoder()
  const items: StreamItem[] = []
  for (let at = 0; at < bytes.length; at += pieceSize) {
    for (const item of decoder.push(bytes.subarray(at, at + pieceSize))) {
      const last = items.at(-1)
      if (item.type === 'data' && last?.type === 'data')
        items[items.length - 1] = { type: 'data', bytes: Buffer.concat([last.bytes, item.bytes]) }
      else items.push(item.type === 'data' ? { type: 'data', bytes: Buffer.from(item.bytes) } : item)
    }
  }
  t.equal(decoder.atFrameEnd, true)
  return items
}

t.test('frames are the bytes that LiteFS writes', async (t) => {
  for (const { frame, hex } of golden) t.equal(encodeFrame(frame).toString('hex'), hex, frame.type)
  const chunks = Buffer.concat([encodeChunks(Buffer.from('abc')), encodeChunks(Buffer.alloc(300, 7)), END_OF_CHUNKS])
  t.equal(chunks.toString('hex'), goldenChunks)
})

t.test('a stream is read however its bytes are cut', async (t) => {
  const [ltx, ...others] = golden
  const stream = Buffer.from([ltx?.hex, goldenChunks, ...others.map(({ hex }) => hex)].join(''), 'hex')
  const expected = [
    ltx?.frame,
    { type: 'data', bytes: Buffer.concat([Buffer.from('abc'), Buffer.alloc(300, 7)]) },
    { type: 'dataEnd' },
    ...others.map(({ frame }) => frame),
  ]
  for (const pieceSize of [1, 2, 3, 7, 100, stream.length]) t.strictSame(decodeAll(stream, pieceSize), expected)
})

t.test('a file of more than a chunk is cut and put together again', async (t) => {
  const file = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919) >> 3))
  const stream = Buffer.concat([encodeFrame({ type: 'ltx', name: 'a' }), encodeChunks(file), END_OF_CHUNKS])
  const parts = decodeAll(stream, 5000).flatMap((item) => (item.type === 'data' ? [item.bytes] : []))
  t.ok(Buffer.concat(parts).equals(file))
  t.equal(encodeChunks(Buffer.alloc(0)).length, 0)
})

t.test('position maps are the bytes that LiteFS writes', async (t) => {
  const positions = new Map([
    ['zeta.db', { txid: 10n, checksum: 0x8000000000000001n }],
    ['dir/ä.db', { txid: 0xffffffffffffffffn, checksum: 0xfedcba9876543210n }],
    ['alpha', { txid: 0n, checksum: 0n }],
  ])
  t.equal(encodePositionMap(positions).toString('hex'), goldenPositions)
  t.strictSame(
    new Map([...decodePositionMap(Buffer.from(goldenPositions, 'hex'))].sort()),
    new Map([...positions].sort()),
  )
  t.strictSame(decodePositionMap(Buffer.alloc(4)), new Map())
})

t.test('bad position maps are refused', async (t) => {
  const whole = Buffer.from(goldenPositions, 'hex')
  for (let length = 0; length < whole.length; length++) {
    t.throws(() => decodePositionMap(whole.subarray(0, length)), { name: 'ProtocolError', message: /ends before/ })
  }
  t.throws(() => decodePositionMap(Buffer.concat([whole, Buffer.alloc(1)])), /data follows/)
  t.throws(() => decodePositionMap(Buffer.from('ffffffff', 'hex')), /ends before/)
  const entry = `0000000161${'00'.repeat(16)}`
  t.throws(() => decodePositionMap(Buffer.from(`00000002${entry}${entry}`, 'hex')), /"a" twice/)
  t.throws(() => decodePositionMap(Buffer.from(`0000000100002710${'61'.repeat(10_016)}`, 'hex')), /10000 bytes/)
  t.throws(() => decodePositionMap(Buffer.from(`0000000100000001ff${'00'.repeat(16)}`, 'hex')), /not UTF-8/)
})

t.test('bad streams are refused', async (t) => {
  const refused = (hex: string) => {
    const decoder = new FrameDecoder()
    return () => [...decoder.push(Buffer.from(hex, 'hex'))]
  }
  t.throws(refused('00000000'), /no frame type 0/)
  t.throws(refused('48545450'), /no frame type/)
  t.throws(refused('0000000100000000000000007fffffff'), /2147483647 bytes/)
  t.throws(refused('00000004000000022e2e'), /part "\.\."/)
  t.throws(refused('00000004000000022fff'), /not UTF-8/)
  t.throws(refused('000000077fffffffffffffff'), /out of range/)
  t.throws(refused('0000000300000002'), /follows its end frame/)
})

t.test('names that lead elsewhere or cannot exist are refused', async (t) => {
  const bad: [string, RegExp][] = [
    ['', /empty/],
    ['/etc/passwd', /absolute/],
    ['..', /part "\.\."/],
    ['a/../b', /part "\.\."/],
    ['./a', /part "\."/],
    ['a//b', /empty part/],
    ['a/', /empty part/],
    ['a\0b', /NUL/],
    ['\ud800', /not Unicode/],
    ['x'.repeat(256), /more than 255 bytes/],
    ['ä'.repeat(128), /more than 255 bytes/],
    ['x'.repeat(10_000), /longer than 1024 bytes/],
  ]
  for (const [name, message] of bad) t.throws(() => checkDatabaseName(name), { name: 'ProtocolError', message })
  for (const name of ['a', 'my.db', 'dir/my.db', '..a', 'x'.repeat(255), ' ']) checkDatabaseName(name)
})

t.test('damaged streams give a ProtocolError or items, never another error', async (t) => {
  const whole = Buffer.from(golden.map(({ hex }, i) => (i === 0 ? hex + goldenChunks : hex)).join(''), 'hex')
  let seed = 42
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % below
  }
  let refused = 0
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(whole)
    for (let i = random(4); i >= 0; i--) bytes[random(bytes.length)] = random(256)
    const decoder = new FrameDecoder()
    try {
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + random(400)
        for (const item of decoder.push(bytes.subarray(at, at + size))) if (item.type === 'end') break
        at += size
      }
    } catch (error) {
      if (!(error instanceof Error && error.name === 'ProtocolError')) throw error
      refused++
    }
    try {
      decodePositionMap(bytes.subarray(random(bytes.length)))
    } catch (error) {
      if (!(error instanceof Error && error.name === 'ProtocolError')) throw error
    }
  }
  t.ok(refused > 1000, `${refused} refused`)
})
