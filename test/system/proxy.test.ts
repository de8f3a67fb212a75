// The guestbook behind the proxies of a primary and a replica: whoever posts reads his post back wherever he asks next, although the replica
// is held back again and again, and without the cookie that can be seen. LITEFS_TEST_SECONDS=120 makes it long.
import { mkdtemp, rmdir } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { freePort } from '../servers/ports.js'
import { type Mount, run, startMount } from './harness.js'
import { applierOf, eventually, startReplica } from './replicas.js'
import { durationOf, seededRandom } from './rounds.js'

t.setTimeout(60 * 60_000)

const GUESTBOOK = fileURLToPath(new URL('../../examples/guestbook/guestbook.js', import.meta.url))
const DURATION_MS = durationOf(3_000)
const USERS = 8
const HELD_MS = 150

const random = seededRandom(t)

/** The configuration of a proxy with a guestbook behind it, and how to start that. */
async function guestbook(more: object = {}) {
  const [addr, target] = [await freePort(), await freePort()]
  const url = `http://127.0.0.1:${addr}`
  const proxy = { addr: `127.0.0.1:${addr}`, target: `127.0.0.1:${target}`, db: 'guestbook.db', ...more }
  return { url, target, proxy }
}

async function startNodes(t: Test): Promise<{ urls: string[]; direct: string; primary: Mount; replica: Mount }> {
  const first = await guestbook()
  const second = await guestbook({ 'advertise-url': first.url, 'detect-writes': true })
  const command = (port: number) => [
    '--',
    'sh',
    '-c',
    `PORT=${port} DATABASE="$MOUNT/guestbook.db" exec ${process.execPath} ${GUESTBOOK}`,
  ]
  const start = async (begin: (options: object) => Promise<Mount>, { proxy, target }: typeof first) => {
    const mountDir = await mkdtemp(path.join(os.tmpdir(), 'litefs-guestbook-'))
    // Registered before the mount's own, it runs after that; what is still mounted stays.
    t.teardown(() => rmdir(mountDir))
    const node = await begin({
      mountDir,
      args: command(target),
      env: { ...process.env, MOUNT: mountDir },
      configExtra: { proxy },
    })
    await node.waitForLine('proxy server listening on: ')
    return node
  }
  const primary = await start((options) => startMount(t, options), first)
  const written = await fetch(first.url, { method: 'POST', body: 'name=first&said=hello', redirect: 'manual' })
  t.equal(written.status, 303)
  const replica = await start((options) => startReplica(t, primary.url, options), second)
  await eventually('the first post on the replica', 20_000, async () => {
    const answer = await fetch(`${second.url}/newest?name=first`)
    return (await answer.text()) === 'hello' || undefined
  })
  return { urls: [first.url, second.url], direct: `http://127.0.0.1:${second.target}`, primary, replica }
}

/** Holds the replica's applier back, again and again, until the signal is aborted. */
async function holdBack(replica: Mount, signal: AbortSignal): Promise<void> {
  const pid = await applierOf(replica)
  while (!signal.aborted) {
    process.kill(pid, 'SIGSTOP')
    await delay(random(HELD_MS))
    process.kill(pid, 'SIGCONT')
    await delay(random(HELD_MS))
  }
}

t.test('users read their own writes', async (t) => {
  const { urls, direct, replica } = await startNodes(t)
  const any = () => urls[random(urls.length)] ?? ''
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const holding = holdBack(replica, stop.signal)
  const counts = { posts: 0, reads: 0, stale: 0 }
  const problems: string[] = []
  const endMs = Date.now() + DURATION_MS

  const user = async (name: string) => {
    let cookie = ''
    for (let n = 0; Date.now() < endMs; n++) {
      const said = `${name} says ${n}`
      const body = new URLSearchParams({ name, said })
      const posted = await fetch(any(), { method: 'POST', body, redirect: 'manual', headers: { cookie } })
      if (posted.status !== 303) problems.push(`${said}: ${posted.status} ${await posted.text()}`)
      cookie = posted.headers.getSetCookie()[0]?.split(';')[0] ?? ''
      counts.posts++
      const page = `/newest?name=${name}`
      if ((await (await fetch(direct + page)).text()) !== said) counts.stale++
      for (let reads = 1 + random(3); reads > 0; reads--) {
        const answer = await fetch(any() + page, { headers: { cookie } })
        const found = await answer.text()
        if (answer.status !== 200 || found !== said) problems.push(`${said}: ${answer.status} ${found}`)
        counts.reads++
      }
    }
  }
  await Promise.all(Array.from({ length: USERS }, (_, index) => user(`user${index}`)))
  stop.abort()
  await holding
  t.comment(`${counts.posts} posts, ${counts.reads} reads, ${counts.stale} of them stale where nothing waits`)
  t.strictSame(problems, [])
  t.ok(counts.posts > USERS && counts.stale > 0, 'without the proxy a replica is behind, and this test can see it')

  const visit = await fetch(`${urls[1]}/visit`)
  t.equal(visit.status, 200, 'a GET that writes is repeated on the primary')
  t.equal(await visit.text(), 'thank you\n')
  const { stdout } = await run('curl', [
    '-sS',
    '-L',
    '-c',
    '/dev/null',
    '-b',
    '',
    '-d',
    'name=curl&said=hi',
    `${urls[1]}/`,
  ])
  t.match(stdout, /<b>curl<\/b>: hi/, 'curl follows the redirect with the cookie')
  const metrics = await (await fetch(`${replica.url}/metrics`)).text()
  t.match(metrics, /litefs_proxy_requests\{role="replica",decision="forward"\} \d+/)
  t.match(metrics, /litefs_proxy_wait_seconds_count [1-9]/)
})
