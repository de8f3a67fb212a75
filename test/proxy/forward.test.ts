// Writes that a replica hands on to the primary's proxy, and what happens while the primary changes.
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freePort } from '../servers/ports.js'
import { decided, echo, startTarget, startTestProxy } from './proxied.js'

async function pair(t: Test, target = echo, settings = {}) {
  const application = await startTarget(t, target)
  const primary = await startTestProxy(t, application, { settings: { alwaysForward: ['/login'], ...settings } })
  const replica = await startTestProxy(t, application, { settings: { alwaysForward: ['/login'], ...settings } })
  replica.node.role = { hostname: 'first', proxyUrl: primary.url }
  primary.node.board.update('app.db', 9n)
  return { primary, replica, application }
}

t.test('a write on a replica gets the answer, the cookie and the position of the primary', async (t) => {
  const { primary, replica } = await pair(t)
  const headers = { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'https' }
  const answer = await fetch(`${replica.url}/a?b=c`, { method: 'POST', body: 'hello', headers })
  t.equal(answer.headers.get('litefs-txid'), 'app.db/0000000000000009')
  t.match(answer.headers.getSetCookie()[0], /^__txid=0000000000000009;/)
  const seen = (await answer.json()) as { url: string; body: string; rawHeaders: string[] }
  t.match(seen, { url: '/a?b=c', body: 'hello' })
  const all = new Map<string, string>()
  for (let index = 0; index < seen.rawHeaders.length; index += 2) {
    all.set(seen.rawHeaders[index]?.toLowerCase() ?? '', seen.rawHeaders[index + 1] ?? '')
  }
  t.equal(all.get('host'), new URL(replica.url).host)
  t.equal(all.get('x-forwarded-host'), all.get('host'))
  t.equal(all.get('x-forwarded-proto'), 'https', 'what is said in front of the proxy stays')
  t.equal(all.get('x-forwarded-for'), '192.0.2.7, 127.0.0.1, 127.0.0.1')
  const always = await fetch(`${replica.url}/login`)
  t.match(always.headers.getSetCookie()[0], /^__txid=0000000000000009;/, 'a GET that counts as a write')
  t.equal(await decided(replica.registry, 'replica', 'forward'), 2)
  t.equal(await decided(primary.registry, 'primary', 'write'), 2)
})

t.test('a request does not go round in circles', async (t) => {
  const { primary, replica } = await pair(t, echo, { primaryRedirectTimeoutMs: 300 })
  primary.node.role = { hostname: 'second', proxyUrl: replica.url }
  const answer = await fetch(replica.url, { method: 'POST', body: 'x' })
  t.equal(answer.status, 508)
  const seen =
    (await decided(primary.registry, 'replica', 'loop')) + (await decided(replica.registry, 'replica', 'loop'))
  t.ok(seen > 0)
})

t.test('a write waits for the new primary', async (t) => {
  const { primary, replica, application } = await pair(t)
  const third = await startTestProxy(t, application)
  const dead = { hostname: 'dead', proxyUrl: 'http://127.0.0.1:1' }
  await t.test('while the old one is dead', async (t) => {
    replica.node.role = dead
    const answer = fetch(replica.url, { method: 'POST', body: 'once' })
    await delay(250)
    replica.node.become({ hostname: 'third', proxyUrl: third.url })
    t.match(await (await answer).json(), { body: 'once' })
  })
  await t.test('while the old one knows that it is none, with a body that it has taken', async (t) => {
    primary.node.role = undefined
    replica.node.role = { hostname: 'first', proxyUrl: primary.url }
    const body = 'x'.repeat(500_000)
    const answer = fetch(replica.url, { method: 'POST', body })
    await delay(100)
    primary.node.become({ hostname: 'third', proxyUrl: third.url })
    t.equal(((await (await answer).json()) as { body: string }).body.length, body.length)
  })
  await t.test('that is the node itself', async (t) => {
    replica.node.role = dead
    const answer = fetch(replica.url, { method: 'POST', body: 'mine' })
    await delay(150)
    replica.node.become('self')
    t.match(await (await answer).json(), { body: 'mine' })
  })
})

t.test(
  'a write is under way until the application has answered, and it is handed on if that has not even started',
  async (t) => {
    const { primary } = await pair(t)
    const port = await freePort()
    const starting = await startTestProxy(t, `http://127.0.0.1:${port}`)
    const answer = fetch(starting.url, { method: 'POST', body: 'early' })
    while (starting.node.writes.count === 0) await delay(5)
    starting.node.become({ hostname: 'first', proxyUrl: primary.url })
    t.match(await (await answer).json(), { body: 'early' }, 'by the primary')
    t.equal(starting.node.writes.count, 0)

    let finish = () => {}
    const slow = await startTarget(t, (_, response) => {
      finish = () => response.end('done')
      response.flushHeaders()
    })
    const { node, url } = await startTestProxy(t, slow)
    const posted = await fetch(url, { method: 'POST' })
    t.equal(node.writes.count, 1)
    const ended = node.writes.ended(10_000)
    await node.writes.ended(20) // patience has an end
    t.equal(node.writes.count, 1)
    finish()
    t.equal(await posted.text(), 'done')
    await ended
    t.equal(node.writes.count, 0)
  },
)

t.test('a write without a new primary in time is refused', async (t) => {
  const { replica } = await pair(t, echo, { primaryRedirectTimeoutMs: 300 })
  replica.node.role = { hostname: 'dead', proxyUrl: 'http://127.0.0.1:1' }
  const answer = await fetch(replica.url, { method: 'POST', body: 'x' })
  t.equal(answer.status, 503)
  t.match(await answer.text(), /no primary available: .*ECONNREFUSED/)
  t.equal(await decided(replica.registry, 'replica', 'no-primary'), 1)
})

t.test('a write that may have arrived is not sent twice', async (t) => {
  let count = 0
  const { replica } = await pair(t, (request, response) => {
    count++
    request.resume().on('end', () => response.socket?.destroy())
  })
  t.equal((await fetch(replica.url, { method: 'POST', body: 'x' })).status, 502)
  t.equal(count, 1)
})

t.test('the application hears that the client has gone, through both proxies', async (t) => {
  let settle = (_finished: boolean) => {}
  const aborted = new Promise<boolean>((resolve) => {
    settle = resolve
  })
  const { replica } = await pair(t, (request, response) => {
    response.on('close', () => settle(response.writableFinished))
    request.resume()
  })
  const abort = new AbortController()
  const answer = fetch(replica.url, { method: 'POST', body: 'x', signal: abort.signal })
  setTimeout(() => abort.abort(), 100)
  await t.rejects(answer)
  t.equal(await aborted, false)
})

t.test(
  'a read that made the application write is repeated on the primary, before the client sees anything',
  async (t) => {
    const settings = { detectWrites: true }
    const application = await startTarget(t, echo)
    const primary = await startTestProxy(t, application, { settings })
    primary.node.board.update('app.db', 9n)
    let refuses = true
    const readOnly = await startTarget(t, (_, response) => {
      if (refuses) replica.node.board.countRefusedWrite()
      response.writeHead(500).end('attempt to write a readonly database')
    })
    const replica = await startTestProxy(t, readOnly, { settings })
    replica.node.role = { hostname: 'first', proxyUrl: primary.url }
    const answer = await fetch(`${replica.url}/counter`)
    t.equal(answer.status, 200)
    t.match(await answer.json(), { method: 'GET', url: '/counter' })
    t.match(answer.headers.getSetCookie()[0], /^__txid=0000000000000009;/, 'it was a write')
    refuses = false
    t.equal((await fetch(replica.url)).status, 500, "other errors are the application's")
    refuses = true
    t.equal((await fetch(replica.url, { method: 'HEAD' })).status, 200)
  },
)

t.test('several databases, each with its position, in cookie and header', async (t) => {
  const databases = ['app.db', 'dir/ä b.db']
  const { node, url } = await startTestProxy(t, await startTarget(t, echo), { databases })
  node.board.update('app.db', 3n)
  node.board.update('dir/ä b.db', 0x10n)
  const written = await fetch(url, { method: 'POST' })
  const header = written.headers.get('litefs-txid') ?? ''
  t.equal(header, 'app.db/0000000000000003, dir/%C3%A4%20b.db/0000000000000010')
  const [cookie = ''] = written.headers.getSetCookie()[0]?.split(';') ?? []
  t.equal((await fetch(url, { headers: { cookie } })).status, 200)
  t.equal((await fetch(url, { headers: { 'litefs-txid': header } })).status, 200)
  node.board.update('dir/ä b.db', 0xfn)
  for (const headers of [{ cookie }, { 'litefs-txid': header }]) {
    node.board.update('dir/ä b.db', 0xfn)
    const answer = fetch(url, { headers })
    t.equal(await Promise.race([answer, delay(50, 'waits')]), 'waits')
    node.board.update('dir/ä b.db', 0x10n)
    t.equal((await answer).status, 200)
  }
  t.equal(
    (await fetch(url, { headers: { 'litefs-txid': 'other.db/00000000000000ff' } })).status,
    200,
    'not followed here',
  )
  for (const bad of ['app.db', 'app.db/5', '/0000000000000001', 'app.db/0000000000000001,', 'a%ff/0000000000000001']) {
    const answer = await fetch(url, { headers: { 'litefs-txid': bad } })
    t.equal(answer.status, 400, bad)
  }
})
