// Two nodes under churn, whose memory must not grow. See docs/reliability.md.
import { once } from 'node:events'
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import http2 from 'node:http2'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { residentMemory } from '../../bench/footprint.js'
import { removeDirectory, startMount, startReplica } from '../../bench/mount.js'
import { ask, startChild } from '../../bench/rounds.js'
import { leastOf, slopeOf } from './slope.js'

const usage = `npm run soak -- [options]
  --seconds=N     (default 3600); below 1200 nothing is judged
  --databases=N   that are made, written and dropped all the time (default 40)
  --limit=MB      growth an hour that is a leak (default 20), once it is certain
  --json=FILE     all samples`

const ROUND_MS = 1_000
/** Samples of which the least counts: a minute, in which each heap is collected. */
const GROUP = 30
/** Before memory is judged, seconds: code is compiled, and what may be kept (local-node.ts: 64 MB of recent transactions) fills up. */
const WARM_UP_SECONDS = 600
/** Shorter runs say nothing. */
const LEAST_SECONDS = 2 * WARM_UP_SECONDS
const churnScript = fileURLToPath(new URL('churn.js', import.meta.url))

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3600' },
    databases: { type: 'string', default: '40' },
    limit: { type: 'string', default: '20' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

/** Follows the primary for a moment as a replica that has nothing would, and hangs up in the middle. */
async function cutStream(url) {
  const session = http2.connect(url)
  session.on('error', () => {}) // we cut it
  const request = session.request({
    ':path': '/stream',
    ':method': 'POST',
    'litefs-id': 'ABCDEF0123456789',
    'litefs-ltx-version': '3',
  })
  request.on('error', () => {})
  let bytes = 0
  request.on('data', (chunk) => {
    bytes += chunk.length
  })
  request.end(Buffer.alloc(4)) // a position map without entries
  await delay(ROUND_MS / 2)
  session.destroy()
  return bytes
}

async function readReplica({ mountPath, url }) {
  const answer = await fetch(new URL('/metrics', url))
  if (!answer.ok) throw new Error(`Cannot read the metrics of ${mountPath}: status ${answer.status}`)
  await answer.text()
}

/** @param {{ primary: object, replica: object }} nodes */
async function soak({ primary, replica }, signal) {
  const churn = await startChild(churnScript, [primary.mountPath], signal)
  const samples = []
  const sums = { commits: 0, dropped: 0, streams: 0, streamedBytes: 0 }
  const start = Date.now()
  try {
    while (Date.now() - start < Number(options.seconds) * 1000) {
      const round = ask(churn, { databases: Number(options.databases), milliseconds: ROUND_MS }, signal)
      const [{ commits, dropped }, bytes] = await Promise.all([round, cutStream(primary.url), readReplica(replica)])
      sums.commits += commits
      sums.dropped += dropped
      sums.streams++
      sums.streamedBytes += bytes
      samples.push({
        atMs: Date.now() - start,
        primary: await residentMemory(primary.pid),
        replica: await residentMemory(replica.pid),
      })
    }
  } finally {
    const ended = once(churn, 'exit')
    churn.kill('SIGKILL')
    await ended
  }
  return { samples, sums }
}

/** Prints what was found; true where neither node grows. */
function judge({ samples, sums }) {
  console.log(
    `${sums.commits} commits, ${sums.dropped} databases dropped, ${sums.streams} streams cut after ${(sums.streamedBytes / 1e6).toFixed(0)} MB`,
  )
  const judged = Number(options.seconds) >= LEAST_SECONDS
  if (judged && (sums.streamedBytes === 0 || sums.dropped === 0))
    throw new Error('Cannot judge the memory: the nodes had nothing to do')
  const settled = judged ? samples.filter(({ atMs }) => atMs > WARM_UP_SECONDS * 1000) : samples
  let steady = true
  for (const node of ['primary', 'replica']) {
    const points = settled.map((sample) => ({ atMs: sample.atMs, value: sample[node] / 1e6 }))
    const least = leastOf(points, Math.max(1, Math.min(GROUP, Math.floor(points.length / 8))))
    const { perHour, error } = slopeOf(least)
    const grows = judged && perHour - error > Number(options.limit)
    steady &&= !grows
    const [first, last] = [least[0], least.at(-1)].map(({ value }) => value.toFixed(0))
    console.log(
      `${node}: ${first} MB, at the end ${last} MB; ${perHour.toFixed(0)} +- ${error.toFixed(0)} MB an hour${grows ? ': LEAKS' : ''}`,
    )
  }
  return steady
}

async function main() {
  if (options.help) return console.log(usage)
  const interruption = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.once(name, () => interruption.abort(new Error(`Stopped by ${name}`)))
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-soak-'))
  const directories = ['primary', 'replica'].map((name) => path.join(base, name))
  const mounts = []
  try {
    for (const directory of directories) await mkdir(directory)
    const retention = { data: { retention: '20s', 'retention-monitor-interval': '5s' } }
    const primary = await startMount(directories[0], retention)
    mounts.push(primary)
    const replica = await startReplica(directories[1], primary.url, retention)
    mounts.push(replica)
    const results = await soak({ primary, replica }, interruption.signal)
    if (options.json) await writeFile(options.json, `${JSON.stringify(results)}\n`)
    if (!judge(results)) process.exitCode = 1
  } finally {
    for (const mount of mounts.reverse()) await mount.stop()
    for (const directory of [...directories, base]) await removeDirectory(directory)
  }
}

try {
  await main()
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
