import t from 'tap'
import { RequestError } from '../../src/http/answers.js'
import { releaseHalt, takeHalt } from '../../src/http/halt-client.js'
import { PeerAccess } from '../../src/http/peer-access.js'
import { decodeHaltLock, encodeHaltLock, parseHaltId } from '../../src/replication/halt-lock.js'
import { serve, testNode } from './node.js'

const replica = { 'litefs-id': '00000000000000CD' }

t.test('/halt and /tx', async (t) => {
  const node = testNode()
  const asked: string[] = []
  node.change = async (what) => {
    asked.push(what)
    if (what.includes('busy')) throw new RequestError(503, 'Cannot halt busy: others')
  }
  const { url } = await serve(node)
  const call = async (method: string, where: string, headers: Record<string, string> = replica) => {
    const answer = await fetch(`${url}${where}`, { method, headers, ...(method === 'POST' && { body: 'x' }) })
    return { status: answer.status, text: await answer.text() }
  }
  t.same(await call('POST', '/halt?name=a.db&id=9223372036854775807'), {
    status: 200,
    text: '{"id":9223372036854775807,"pos":{"TXID":"0000000000000abc","PostApplyChecksum":"8000000000000001"},"expires":"2026-01-02T03:04:05.678Z"}\n',
  })
  t.same(await call('DELETE', '/halt?name=a.db&id=7', {}), { status: 200, text: '' })
  t.strictSame(asked.splice(0), ['halt a.db 9223372036854775807 false', 'unhalt a.db 7'])
  for (const [method, where, headers, status] of [
    ['POST', '/halt?name=a.db&id=0', replica, 400],
    ['POST', '/halt?name=a.db&id=9223372036854775808', replica, 400],
    ['POST', '/halt?name=..&id=7', replica, 400],
    ['POST', '/halt?id=7', replica, 400],
    ['POST', '/halt?name=a.db&id=7', {}, 400],
    ['POST', '/halt?name=a.db&id=7', { 'litefs-id': '00000000000000AB' }, 400],
    ['POST', '/halt?name=a.db&id=7', { ...replica, 'litefs-cluster-id': 'LFSC0000000000000000' }, 409],
    ['POST', '/halt?name=busy&id=7', replica, 503],
    ['POST', '/tx?name=a.db&lockID=7', replica, 400],
    ['POST', '/tx?name=a.db', replica, 400],
  ] as const) {
    t.equal((await call(method, where, headers)).status, status, `${method} ${where} ${JSON.stringify(headers)}`)
  }
  t.strictSame(asked.splice(0), ['halt busy 7 false'], 'nothing else was asked for')

  const access = new PeerAccess({ token: undefined, tls: undefined })
  t.teardown(() => access.close())
  const target = { url, access, nodeId: '00000000000000CD', clusterId: undefined, epoch: 0n }
  const signal = AbortSignal.timeout(10_000)
  t.match(await takeHalt(target, { name: 'a b', id: 7, renew: true }, signal), { id: 7n, isOurs: true })
  await releaseHalt(target, 'a b', 7, signal)
  t.strictSame(asked.splice(0), ['halt a b 7 true', 'unhalt a b 7'])
  await t.rejects(takeHalt(target, { name: 'busy', id: 7, renew: false }, signal), {
    statusCode: 503,
    message: /others/,
  })

  node.isPrimary = false
  t.equal((await call('POST', '/halt?name=a.db&id=7')).status, 503)
  t.equal((await call('POST', '/tx?name=a.db&lockID=7')).status, 503)
  node.isPrimary = true
  node.epoch = 4n
  t.equal((await call('POST', '/halt?name=a.db&id=7', { ...replica, 'litefs-epoch': '5' })).status, 503)
  t.strictSame(node.heardOf, [5n], 'a later lease')
})

t.test('a halt lock as LiteFS writes it', async (t) => {
  // What encoding/json makes of LiteFS 0.5's HaltLock, with its time in nanoseconds.
  const golden =
    '{"id":8717895732742165505,"pos":{"TXID":"00000000000000ff","PostApplyChecksum":"c0ffee0000000001"},"expires":"2023-04-05T06:07:08.123456789Z"}\n'
  const lock = {
    id: 8717895732742165505n,
    position: { txid: 255n, checksum: 0xc0ffee0000000001n },
    expiresMs: Date.UTC(2023, 3, 5, 6, 7, 8, 123),
  }
  t.strictSame(decodeHaltLock(golden), lock)
  t.equal(encodeHaltLock(lock), golden.replace('456789', ''))
  t.strictSame(decodeHaltLock(golden.replace('08.123456789Z', '08+02:00')).expiresMs, Date.UTC(2023, 3, 5, 4, 7, 8))
  for (const bad of ['', '{}', golden.replace('"TXID":"', '"TXID":"x'), golden.replace('2023', 'year'), `${golden}x`])
    t.throws(() => decodeHaltLock(bad), { name: 'ProtocolError' }, bad)
  t.strictSame(['1', '9223372036854775807', '0', '-1', '', '1x', '9223372036854775808'].map(parseHaltId), [
    1n,
    9223372036854775807n,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ])
})
