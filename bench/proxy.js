// Requests through the proxy beside requests to the application itself, in the same run.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { Pool } from 'undici'
import { startMount } from './mount.js'
import { spreadOf } from './report.js'

const CONNECTIONS = 32
const WARM_UP_MS = 500
const GOAL_RATIO = 0.3
const GOAL_ADDED_MS = 1

/**
 * @param {string} directory for a mount
 * @param {{ rounds: number, seconds: number, signal: AbortSignal }} options
 */
export async function measureProxy(directory, { rounds, seconds, signal }) {
  const application = fork(fileURLToPath(new URL('./proxy-child.js', import.meta.url)))
  const pools = []
  let mount
  try {
    const [port] = await once(application, 'message', { signal })
    const proxyPort = await freePort()
    const proxy = { addr: `127.0.0.1:${proxyPort}`, target: `127.0.0.1:${port}`, db: 'bench.db' }
    mount = await startMount(directory, { proxy })
    await mount.output.waitFor('proxy server listening on:', 10_000)
    for (const each of [port, proxyPort]) pools.push(new Pool(`http://127.0.0.1:${each}`, { connections: CONNECTIONS }))
    const [direct, proxied] = pools
    const samples = []
    for (const pool of pools) await load(pool, CONNECTIONS, WARM_UP_MS, signal)
    for (let round = 0; round < rounds; round++) {
      samples.push({
        direct: await load(direct, CONNECTIONS, seconds * 1000, signal),
        proxied: await load(proxied, CONNECTIONS, seconds * 1000, signal),
        directAlone: await load(direct, 1, seconds * 500, signal),
        proxiedAlone: await load(proxied, 1, seconds * 500, signal),
      })
    }
    return { connections: CONNECTIONS, samples }
  } finally {
    for (const pool of pools) await pool.destroy()
    application.disconnect()
    await mount?.stop()
  }
}

/** So many requests at a time, each the next one on its connection. Gives requests per second, and milliseconds at the middle and at 99 %. */
async function load(pool, connections, durationMs, signal) {
  const times = []
  const endMs = performance.now() + durationMs
  const client = async () => {
    while (performance.now() < endMs) {
      signal.throwIfAborted()
      const begunMs = performance.now()
      const { body } = await pool.request({ method: 'GET', path: '/' })
      await body.dump()
      times.push(performance.now() - begunMs)
    }
  }
  await Promise.all(Array.from({ length: connections }, client))
  times.sort((a, b) => a - b)
  const at = (part) => times[Math.floor(part * (times.length - 1))]
  return { rate: (1000 * times.length) / durationMs, p50: at(0.5), p99: at(0.99) }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** @param {Awaited<ReturnType<typeof measureProxy>>} figures */
export function proxyText({ connections, samples }) {
  const median = (figure) => spreadOf(samples.map(figure)).median
  const line = (name) => {
    const [rate, p50, p99] = ['rate', 'p50', 'p99'].map((key) => median((sample) => sample[name][key]))
    return `${Math.round(rate).toLocaleString('en-US')} requests/s, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`
  }
  const ratio = median(({ direct, proxied }) => proxied.rate / direct.rate)
  const addedMs = median(({ directAlone, proxiedAlone }) => proxiedAlone.p50 - directAlone.p50)
  const judged = (isMet) => (isMet ? 'met' : 'MISSED')
  return [
    `a small answer, load, application and proxy on this machine, ${connections} connections (one alone):`,
    `  direct         ${line('direct')} (${line('directAlone')})`,
    `  through proxy  ${line('proxied')} (${line('proxiedAlone')})`,
    `  rate ${ratio.toFixed(2)} of direct (goal: >= ${GOAL_RATIO} ${judged(ratio >= GOAL_RATIO)})`,
    `  p50 of one alone + ${addedMs.toFixed(2)} ms (goal: < ${GOAL_ADDED_MS} ms ${judged(addedMs < GOAL_ADDED_MS)})`,
  ].join('\n')
}
