// What applications behind LiteFS' proxy rely on: expected values from LiteFS' http/proxy_server.go and its documentation.
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { decided, echo, startTarget, startTestProxy } from './proxied.js'

const PRIMARY = { hostname: 'first', proxyUrl: 'http://127.0.0.1:1' }
const fly = { forwards: false }

t.test('a write on the primary is followed by a cookie with the position', async (t) => {
  const { node, url, registry } = await startTestProxy(t, await startTarget(t, echo))
  node.board.update('app.db', 0xabcn)
  const answer = await fetch(`${url}/post?x=1`, { method: 'POST', body: 'hello' })
  t.equal(answer.status, 200)
  const { method, url: target, body } = (await answer.json()) as Record<string, string>
  t.strictSame({ method, target, body }, { method: 'POST', target: '/post?x=1', body: 'hello' })
  const [value, path, expires, httpOnly] = answer.headers.getSetCookie()[0]?.split('; ') ?? []
  t.strictSame([value, path, httpOnly], ['__txid=0000000000000abc', 'Path=/', 'HttpOnly'])
  const life = Date.parse(expires?.replace('Expires=', '') ?? '') - Date.now()
  t.ok(life > 298_000 && life <= 300_000, 'five minutes')
  t.equal(answer.headers.get('litefs-txid'), 'app.db/0000000000000abc')
  t.equal(await decided(registry, 'primary', 'write'), 1)
  t.strictSame((await fetch(url)).headers.getSetCookie(), [], 'none with a read')
  t.strictSame((await fetch(url, { method: 'HEAD' })).headers.getSetCookie(), [], 'nor with HEAD')
})

t.test('the cookie is not older than what the application wrote before it answered', async (t) => {
  const { node, url } = await startTestProxy(t, await startTarget(t, (_, response) => response.end()))
  node.newestTxids = async () => {
    await delay(20)
    return [7n]
  }
  node.board.update('app.db', 3n)
  t.match((await fetch(url, { method: 'PUT' })).headers.getSetCookie()[0], /^__txid=0000000000000007;/)
})

t.test('a read waits until its user can see what he wrote', async (t) => {
  const { node, url, registry } = await startTestProxy(t, await startTarget(t, echo))
  node.role = PRIMARY
  node.board.update('app.db', 4n)
  const read = (cookie: string) => fetch(url, { headers: { cookie } })
  t.equal((await read('a=b; __txid=0000000000000004')).headers.get('litefs-txid'), 'app.db/0000000000000004')
  const waiting = read('__txid=0000000000000005; a=b')
  t.equal(await Promise.race([waiting, delay(50, 'waits')]), 'waits')
  const begunMs = performance.now()
  node.board.update('app.db', 5n)
  t.equal((await waiting).status, 200)
  t.ok(performance.now() - begunMs < 1000, 'woken by the transaction')
  for (const cookie of [
    '__txid=nonsense',
    '__txid=',
    '__txid=5',
    'x__txid=00000000000000ff',
    `__txid=${'f'.repeat(9999)}`,
  ]) {
    t.equal((await read(cookie)).status, 200, cookie.slice(0, 30))
  }
  t.equal((await fetch(url)).status, 200, 'without a cookie nothing is waited for')
  t.equal(await decided(registry, 'replica', 'read'), 8)
})

t.test(
  'a read that waits for what does not come is answered with 504 after five seconds, and costs nothing meanwhile',
  async (t) => {
    const { node, url, registry } = await startTestProxy(t, await startTarget(t, echo))
    node.board.update('app.db', 4n)
    const begunMs = performance.now()
    const cookie = '__txid=ffffffffffffffff'
    const processor = process.cpuUsage()
    const answers = await Promise.all(Array.from({ length: 50 }, () => fetch(url, { headers: { cookie } })))
    const tookMs = performance.now() - begunMs
    t.ok(tookMs >= 4990 && tookMs < 7000, `${tookMs} ms`)
    const { user, system } = process.cpuUsage(processor)
    t.ok(user + system < 2_500_000, `${user + system} µs of processor time`)
    t.strictSame([...new Set(answers.map(({ status }) => status))], [504])
    t.equal(await answers[0]?.text(), 'Proxy timeout\n')
    t.equal(await decided(registry, 'primary', 'timeout'), 50)
  },
)

t.test('a write on a replica asks Fly.io to repeat it on the primary', async (t) => {
  const target = await startTarget(t, () => t.fail('the application sees nothing of it'))
  const { node, url, registry } = await startTestProxy(t, target, { settings: { ...fly, alwaysForward: ['/login/*'] } })
  node.role = PRIMARY
  for (const [method, path] of [
    ['POST', '/'],
    ['DELETE', '/x'],
    ['OPTIONS', '/x'],
    ['GET', '/login/now'],
  ]) {
    const answer = await fetch(`${url}${path}`, { method: method ?? '' })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('fly-replay'), 'instance=first')
    t.equal(await answer.text(), '')
  }
  t.equal(await decided(registry, 'replica', 'fly-replay'), 4)
})

t.test('a write without a primary waits for one, and is refused when there is none in time', async (t) => {
  const settings = { ...fly, primaryRedirectTimeoutMs: 300 }
  const { node, url } = await startTestProxy(t, await startTarget(t, echo), { settings })
  node.role = undefined
  const begunMs = performance.now()
  const refused = await fetch(url, { method: 'POST', body: 'x' })
  t.equal(refused.status, 503)
  t.equal(await refused.text(), 'Proxy error: no primary available\n')
  t.ok(performance.now() - begunMs >= 290)
  const replayed = fetch(url, { method: 'POST' })
  await delay(50)
  node.become(PRIMARY)
  t.equal((await replayed).headers.get('fly-replay'), 'instance=first')
  node.become(undefined)
  const own = fetch(url, { method: 'POST', body: 'mine' })
  await delay(50)
  node.become('self')
  t.match(await (await own).json(), { body: 'mine' })
})

t.test('paths that are passed through are neither held nor marked, whatever they are', async (t) => {
  const settings = { ...fly, passthrough: ['/static/*', '*.png', '/exact'] }
  const { node, url, lines } = await startTestProxy(t, await startTarget(t, echo), {
    settings: { ...settings, debug: true },
  })
  node.role = undefined
  const headers = { cookie: '__txid=00000000000000ff' }
  for (const path of ['/static/', '/static/a/b', '/a/b.png?x=y', '/exact', '/%65xact']) {
    const answer = await fetch(url + path, { method: 'POST', headers })
    t.match(await answer.json(), { method: 'POST', url: path })
    t.equal(answer.headers.get('litefs-txid'), null)
  }
  t.equal(lines.length, 5)
  t.match(lines[2], /^proxy: POST \/a\/b\.png: passthrough, 200$/)
})

t.test('health', async (t) => {
  const { node, url } = await startTestProxy(t, 'http://127.0.0.1:1')
  const health = async () => {
    const answer = await fetch(`${url}/litefs/health`)
    return [answer.status, await answer.text()]
  }
  t.strictSame(await health(), [200, 'OK\n'])
  node.lag = 10_001
  t.strictSame(await health(), [503, 'Replication lag exceeded\n'])
  node.lag = undefined
  t.strictSame(await health(), [503, 'Replication lag exceeded\n'])
  const { url: any, node: other } = await startTestProxy(t, 'http://127.0.0.1:1', { settings: { maxLagMs: 0 } })
  other.lag = undefined
  t.equal((await fetch(`${any}/litefs/health`)).status, 200)
})

t.test('an application that starts is waited for', async (t) => {
  const reserved = net.createServer().listen(0, '127.0.0.1')
  await once(reserved, 'listening')
  const { port } = reserved.address() as net.AddressInfo
  reserved.close()
  await once(reserved, 'close')
  const { url } = await startTestProxy(t, `http://127.0.0.1:${port}`)
  const read = fetch(url)
  const write = fetch(url, { method: 'POST', body: 'early' })
  await delay(300)
  await startTarget(t, echo, port)
  t.equal((await read).status, 200)
  t.match(await (await write).json(), { body: 'early' })
})

t.test('an application that breaks off', async (t) => {
  const target = await startTarget(t, (request, response) => {
    if (request.url === '/half') response.write('half', () => request.socket.destroy())
    else request.socket.destroy()
  })
  const { url, registry } = await startTestProxy(t, target)
  const answer = await fetch(url, { method: 'POST' })
  t.equal(answer.status, 502)
  t.match(await answer.text(), /^Proxy error: /)
  t.equal(await decided(registry, 'primary', 'bad-gateway'), 1)
  const half = http.get(`${url}/half`)
  const [response] = (await once(half, 'response')) as [http.IncomingMessage]
  await t.rejects(response.toArray(), 'what is missing is not taken for the end')
})
