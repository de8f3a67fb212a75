import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startMount, startReplica } from './mount.js'
import { spreadOf } from './report.js'
import { ask, startChild } from './rounds.js'

const SMALL = 'small.db'
const LARGE = 'large.db'
const COMMITS_PER_SECOND = 500
const ROWS = 10_000
/** Commits before lag is measured: until then the nodes interpret what they will have compiled. */
const WARM_SECONDS = 10
const LOOK_MS = 2
const TIMEOUT_MS = 300_000
const SETTLE_MS = 500
const childScript = fileURLToPath(new URL('replication-child.js', import.meta.url))
const buildScript = fileURLToPath(new URL('large-build.js', import.meta.url))

/** What the figures shall be. */
export const GOALS = { lagP50Ms: 2, lagP99Ms: 20, transferRate: 150e6, residentBytes: 200e6, reads: 0.8 }

/**
 * A primary and a replica on this machine, each a process of its own: how far the replica is behind, whether it keeps up, how fast it gets
 * a whole database and what it missed, and what its readers notice of it.
 *
 * @param {string} directory an empty directory
 * @param {{ bytes: number, rounds: number, seconds: number, signal: AbortSignal }} options `bytes`: size of the large database
 */
export async function measureReplication(directory, { bytes, rounds, seconds, signal }) {
  const native = path.join(directory, 'native')
  for (const name of ['primary', 'replica', 'native']) await mkdir(path.join(directory, name))
  const processes = new Processes(signal)
  const primary = processes.stopLater(await startMount(path.join(directory, 'primary')))
  const start = async () => processes.stopLater(await startReplica(path.join(directory, 'replica'), primary.url))
  const pair = { primary, replica: await start(), processes, signal }
  try {
    const writer = await processes.start('write', path.join(primary.mountPath, SMALL))
    await ask(writer, { rows: ROWS }, signal)
    await caughtUp(pair, SMALL)
    progress('lag')
    const lag = await measureLag(pair, writer, seconds * rounds)
    progress('throughput')
    const throughput = await measureThroughput(pair, writer, 2 * seconds)
    progress('reads')
    const reads = await measureReads(pair, writer, { native: path.join(native, SMALL), rounds, seconds })
    writer.kill('SIGKILL')
    progress('snapshot and catch-up')
    const transfers = await measureTransfers(pair, { start, bytes, file: path.join(directory, LARGE) })
    return { lag, throughput, reads, ...transfers }
  } finally {
    await processes.end()
  }
}

function progress(what) {
  process.stderr.write(`replication: ${what} ...\n`)
}

/** What was started, to be ended in any case. */
class Processes {
  #children = []
  #mounts = []
  #signal

  constructor(signal) {
    this.#signal = signal
  }

  async start(role, file) {
    const child = await startChild(childScript, [role, file], this.#signal)
    this.#children.push(child)
    return child
  }

  stopLater(mount) {
    this.#mounts.push(mount)
    return mount
  }

  async end() {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const mount of this.#mounts.reverse()) await mount.stop()
  }
}

async function measureLag({ replica, processes, signal }, writer, seconds) {
  await ask(writer, { seconds: WARM_SECONDS, perSecond: COMMITS_PER_SECOND }, signal)
  const watcher = await processes.start('watch', path.join(replica.mountPath, SMALL))
  const watched = ask(watcher, { seconds: seconds + 2 }, signal)
  await delay(SETTLE_MS, undefined, { signal })
  const { commits } = await ask(writer, { seconds, perSecond: COMMITS_PER_SECOND }, signal)
  const { seen } = await watched
  watcher.kill('SIGKILL')
  const lags = []
  let at = 0
  for (const [id, committedMs] of commits) {
    while (at < seen.length && seen[at][0] < id) at++
    if (at === seen.length) throw new Error(`Cannot measure the lag: row ${id} never arrived`)
    lags.push(Math.max(0, seen[at][1] - committedMs))
  }
  lags.sort((a, b) => a - b)
  const percentile = (share) => lags[Math.min(lags.length - 1, Math.floor(share * lags.length))]
  return {
    commits: lags.length,
    perSecond: lags.length / seconds,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    maxMs: lags.at(-1),
  }
}

/** How far the replica is behind when the fastest writer stops, and when it has caught up. */
async function measureThroughput(pair, writer, seconds) {
  const { count, milliseconds } = await ask(writer, { seconds }, pair.signal)
  const stopped = performance.now()
  const { txid } = await positionOf(pair.replica, SMALL)
  const { txid: wanted } = await positionOf(pair.primary, SMALL)
  await caughtUp(pair, SMALL)
  return { rate: (count * 1000) / milliseconds, behind: Number(wanted - txid), catchUpMs: performance.now() - stopped }
}

/** Reads of the replica and of a native database in turn, each with a writer of the same pace. */
async function measureReads(pair, writer, { native, rounds, seconds }) {
  const { processes, signal } = pair
  const sides = []
  const nativeWriter = await processes.start('write', native)
  await ask(nativeWriter, { rows: ROWS }, signal)
  for (const [file, itsWriter] of [
    [native, nativeWriter],
    [path.join(pair.replica.mountPath, SMALL), writer],
  ]) {
    sides.push({ reader: await processes.start('read', file), itsWriter, rates: [], costs: [] })
  }
  for (let round = 0; round < rounds; round++) {
    for (const { reader, itsWriter, rates, costs } of round % 2 === 0 ? sides : [...sides].reverse()) {
      const writing = ask(itsWriter, { seconds, perSecond: COMMITS_PER_SECOND }, signal)
      const { operations, seconds: taken, processorSeconds } = await ask(reader, { seconds, rows: ROWS }, signal)
      rates.push(operations / taken)
      costs.push(processorSeconds / operations)
      await writing
    }
  }
  for (const { reader } of sides) reader.kill('SIGKILL')
  nativeWriter.kill('SIGKILL')
  const [first, second] = sides.map(({ rates }) => rates)
  const [firstCosts, secondCosts] = sides.map(({ costs }) => costs)
  return {
    native: spreadOf(first),
    replica: spreadOf(second),
    ratio: spreadOf(second.map((rate, i) => rate / first[i])),
    // The nodes and the writer have the same processors, which elsewhere are other machines'.
    byProcessorTime: spreadOf(secondCosts.map((cost, i) => firstCosts[i] / cost)),
  }
}

/** A replica that begins with nothing, and one that comes back when every page has changed. */
async function measureTransfers(pair, { start, bytes, file }) {
  const { primary, signal } = pair
  await pair.replica.stop()
  await run(process.execPath, [buildScript, file, String(bytes)], signal)
  const { size } = await stat(file)
  await run('cp', [file, path.join(primary.mountPath, LARGE)], signal)
  await rm(file)
  await waitFor(() => positionOf(primary, LARGE), 'the large database is imported', signal)
  const snapshot = await measureTransfer(pair, start, size)
  await pair.replica.stop()
  const rewriter = await pair.processes.start('rewrite', path.join(primary.mountPath, LARGE))
  const { transactions } = await ask(rewriter, {}, signal)
  rewriter.kill('SIGKILL')
  return { size, snapshot, catchUp: { ...(await measureTransfer(pair, start, size)), transactions } }
}

async function measureTransfer(pair, start, size) {
  await delay(2 * SETTLE_MS, undefined, { signal: pair.signal })
  await resetPeak(pair.primary.pid)
  const begun = performance.now()
  pair.replica = await start()
  const peaks = new Peaks([pair.primary.pid, pair.replica.pid])
  await caughtUp(pair, LARGE, () => peaks.look())
  const milliseconds = performance.now() - begun
  const [primaryBytes, replicaBytes] = await peaks.look()
  return { milliseconds, rate: (size * 1000) / milliseconds, primaryBytes, replicaBytes }
}

/** The most memory that nodes had at once, the sum over each node's processes. */
class Peaks {
  #pids
  #highest

  constructor(pids) {
    this.#pids = pids
    this.#highest = pids.map(() => new Map())
  }

  async look() {
    for (const [i, pid] of this.#pids.entries()) {
      for (const each of [pid, ...(await childrenOf(pid))]) {
        const bytes = await peakMemory(each).catch(() => 0)
        this.#highest[i].set(each, Math.max(bytes, this.#highest[i].get(each) ?? 0))
      }
    }
    return this.#highest.map((peaks) => Math.max(...peaks.values()))
  }
}

async function childrenOf(pid) {
  const found = []
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const children = await readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')
    for (const child of children.split(' ')) if (child !== '') found.push(Number(child))
  }
  return found
}

/** VmHWM of a process, bytes. */
async function peakMemory(pid) {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))[1]) * 1024
}

/** VmHWM becomes what is resident now: proc(5), clear_refs. */
function resetPeak(pid) {
  return writeFile(`/proc/${pid}/clear_refs`, '5')
}

async function positionOf({ mountPath }, name) {
  const [txid, checksum] = (await readFile(path.join(mountPath, `${name}-pos`), 'utf8')).trim().split('/')
  return { txid: BigInt(`0x${txid}`), checksum }
}

async function caughtUp({ primary, replica, signal }, name, meanwhile = () => {}) {
  await waitFor(
    async () => {
      await meanwhile()
      const [wanted, found] = [await positionOf(primary, name), await positionOf(replica, name)]
      if (wanted.txid !== found.txid) throw new Error(`it is at ${found.txid}, not ${wanted.txid}`)
      if (wanted.checksum !== found.checksum) throw new Error(`Cannot trust the replica: ${name} differs`)
    },
    `${name} has arrived: ${replica.output.text()}`,
    signal,
  )
}

async function waitFor(look, what, signal) {
  const deadline = performance.now() + TIMEOUT_MS
  for (;;) {
    try {
      return await look()
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`Cannot wait until ${what}`, { cause: error })
    }
    await delay(LOOK_MS, undefined, { signal })
  }
}

async function run(command, args, signal) {
  const child = spawn(command, args, { stdio: 'inherit', signal })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`Cannot run ${command} ${args.join(' ')}: exit code ${code}`)
}

/** @param {Awaited<ReturnType<typeof measureReplication>>} figures */
export function replicationText({ lag, throughput, reads, size, snapshot, catchUp }) {
  const verdict = (met) => (met ? 'met' : 'MISSED')
  const ms = (value) => `${value.toFixed(1)} ms`
  const mb = (value) => `${(value / 1e6).toFixed(0)} MB`
  const transfer = ({ milliseconds, rate, primaryBytes, replicaBytes }) =>
    `${mb(rate)}/s, ${(milliseconds / 1000).toFixed(1)} s (goal: ${mb(GOALS.transferRate)}/s ${verdict(rate >= GOALS.transferRate)}); ` +
    `largest process ${mb(primaryBytes)} on the primary, ${mb(replicaBytes)} on the replica ` +
    `(goal: under ${mb(GOALS.residentBytes)} ${verdict(Math.max(primaryBytes, replicaBytes) < GOALS.residentBytes)})`
  return [
    'a primary and a replica on this machine:',
    `  lag at ${lag.perSecond.toFixed(0)} commits/s: p50 ${ms(lag.p50Ms)} (goal: ${GOALS.lagP50Ms} ms ${verdict(lag.p50Ms <= GOALS.lagP50Ms)}), ` +
      `p99 ${ms(lag.p99Ms)} (goal: ${GOALS.lagP99Ms} ms ${verdict(lag.p99Ms <= GOALS.lagP99Ms)}), longest ${ms(lag.maxMs)}`,
    `  fastest writer: ${throughput.rate.toFixed(0)} commits/s; the replica was ${throughput.behind} transactions behind, caught up ${ms(throughput.catchUpMs)} after it`,
    `  reads on the replica at ${COMMITS_PER_SECOND} commits/s: ${reads.replica.median.toFixed(0)}/s, native ${reads.native.median.toFixed(0)}/s, ` +
      `ratio ${reads.ratio.median.toFixed(2)} (${reads.ratio.min.toFixed(2)}-${reads.ratio.max.toFixed(2)}, goal: ${GOALS.reads} ${verdict(reads.ratio.median >= GOALS.reads)}); ` +
      `for the processor time that the readers had: ratio ${reads.byProcessorTime.median.toFixed(2)}`,
    `  snapshot of ${mb(size)}: ${transfer(snapshot)}`,
    `  catch-up of ${mb(size)} in ${catchUp.transactions} transactions: ${transfer(catchUp)}`,
  ].join('\n')
}
