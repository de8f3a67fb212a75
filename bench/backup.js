import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { litefsScript, startMount } from './mount.js'
import { spreadOf, summarize } from './report.js'
import { measureWorkload } from './rounds.js'
import { workloads } from './workloads.js'

const LOOK_MS = 20
/** Looking costs the daemon that is measured. */
const WATCH_MS = 1000
const TIMEOUT_MS = 300_000
/** An upload a second is what a backup costs: a round has some of them. */
const LEAST_SECONDS = 5
/** The fastest writer that there is. */
const WRITER = 'commit-wal-normal'
const RESTORES = 3
/** Another storage than a directory, as in s3://BUCKET/PATH?endpoint=http://127.0.0.1:7480, with AWS_ACCESS_KEY_ID and so on. */
const STORAGE_VARIABLE = 'LITEFS_BENCH_BACKUP'
const buildScript = fileURLToPath(new URL('large-build.js', import.meta.url))

/** What the figures shall be: of the writer without a backup, bytes per second, bytes. */
export const GOALS = { writer: 0.95, directoryRate: 150e6, s3Rate: 60e6, residentBytes: 250e6 }

/**
 * What a backup costs the fastest writer and whether it keeps up, and how fast a large database is uploaded and restored.
 *
 * @param {string} directory an empty directory
 * @param {{ bytes: number, rounds: number, seconds: number, signal: AbortSignal }} options `bytes`: size of the large database
 */
export async function measureBackup(directory, { bytes, rounds, seconds, signal }) {
  const writer = await measureWriter(directory, { rounds, seconds, signal })
  const file = path.join(directory, 'large.db')
  progress('a large database')
  await runToEnd([buildScript, file, String(bytes)], signal)
  const transfers = [await measureTransfer(`file://${directory}/large`, file, directory, signal)]
  const other = process.env[STORAGE_VARIABLE]
  if (other !== undefined) transfers.push(await measureTransfer(other, file, directory, signal))
  return { writer, transfers }
}

async function measureWriter(directory, { rounds, seconds, signal }) {
  const workload = workloads.find(({ name }) => name === WRITER)
  const timing = { rounds, seconds: Math.max(seconds, LEAST_SECONDS), signal }
  const mounts = []
  try {
    for (const name of ['without', 'with']) {
      const own = path.join(directory, name)
      await mkdir(own)
      const backup = name === 'with' ? { url: `file://${directory}/small` } : {}
      mounts.push({ name, ...(await startMount(own, { backup })) })
    }
    progress('the writer')
    const directories = mounts.map(({ name, mountPath }) => ({ name, path: mountPath }))
    const watched = watchLag(mounts, `${WRITER}.db`)
    const rest = () => untilBackedUp(mounts[1], `${WRITER}.db`, signal)
    const rates = await measureWorkload(workload, directories, { ...timing, rest })
    const { peakLagSeconds, peakResident } = await watched.end()
    const startMs = performance.now()
    await untilBackedUp(mounts[1], `${WRITER}.db`, signal)
    const afterSeconds = (performance.now() - startMs) / 1000
    return { ...summarize(workload, directories, rates), peakLagSeconds, afterSeconds, peakResident }
  } finally {
    for (const { stop } of mounts) await stop()
  }
}

/** The longest lag and the most memory of the second mount, until it is told to end. The first is asked too: both pay for it alike. */
function watchLag([without, mount], name) {
  let ended = false
  const watch = async () => {
    let peakLagSeconds = 0
    while (!ended) {
      await lagOf(without, name)
      peakLagSeconds = Math.max(peakLagSeconds, await lagOf(mount, name))
      await delay(WATCH_MS)
    }
    return { peakLagSeconds, peakResident: await peakResidentOf(mount.pid) }
  }
  const watching = watch()
  watching.catch(() => {}) // who calls `end` hears of it
  return {
    end: () => {
      ended = true
      return watching
    },
  }
}

async function untilBackedUp(mount, name, signal) {
  for (const deadline = Date.now() + TIMEOUT_MS; (await lagOf(mount, name)) > 0; await delay(LOOK_MS)) {
    signal.throwIfAborted()
    if (Date.now() > deadline) throw new Error(`Cannot measure the backup: it is not done after ${TIMEOUT_MS} ms`)
  }
}

/** Seconds; 0 before there is a database. */
async function lagOf({ url }, name) {
  const text = await (await fetch(`${url}/metrics`)).text()
  const [, lag = '0'] = new RegExp(`^litefs_backup_lag_seconds\\{db="${name}"\\} (\\S+)$`, 'm').exec(text) ?? []
  return Number(lag)
}

/** Uploads a database with `litefs replicate -once` and restores it a few times. */
async function measureTransfer(url, file, directory, signal) {
  const { protocol } = new URL(url)
  progress(`upload to ${protocol}`)
  const { size } = await stat(file)
  const upload = await timed([litefsScript, 'replicate', '-once', file, url], signal)
  const restores = []
  for (let i = 0; i < RESTORES; i++) {
    progress(`restore from ${protocol}`)
    const output = path.join(directory, 'restored.db')
    restores.push(await timed([litefsScript, 'restore', '-o', output, url], signal))
    if ((await stat(output)).size !== size) throw new Error('Cannot trust the figures: it restored something else')
    await rm(output)
  }
  const rates = restores.map(({ seconds }) => size / seconds)
  const peakResident = Math.max(upload.peakResident, ...restores.map((restore) => restore.peakResident))
  return { storage: protocol, uploadRate: size / upload.seconds, rates, rate: spreadOf(rates), peakResident }
}

/** Runs a command of litefs: how long it takes, and the most memory that it had. */
async function timed(words, signal) {
  const startMs = performance.now()
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'], signal })
  const exited = once(child, 'exit')
  let peakResident = 0
  const timer = setInterval(() => {
    peakResidentOf(child.pid).then(
      (bytes) => {
        peakResident = Math.max(peakResident, bytes)
      },
      () => {}, // it has just ended
    )
  }, LOOK_MS)
  try {
    const [code] = await exited
    if (code !== 0) throw new Error(`Cannot measure ${words.join(' ')}: it ended with ${code}`)
  } finally {
    clearInterval(timer)
  }
  return { seconds: (performance.now() - startMs) / 1000, peakResident }
}

async function runToEnd(words, signal) {
  await timed(words, signal)
}

/** Bytes, since the process began. */
async function peakResidentOf(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const [, kilobytes = '0'] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? []
  return Number(kilobytes) * 1024
}

/** @param {Awaited<ReturnType<typeof measureBackup>>} figures */
export function backupText({ writer, transfers }) {
  const [without, used] = writer.directories
  const { peakLagSeconds, afterSeconds, peakResident } = writer
  const rate = (directory) => Math.round(directory.rate.median).toLocaleString('en-US')
  const percent = ((1 - used.ratio.median) * 100).toFixed(1)
  return [
    'backup to a directory under one writer, WAL NORMAL:',
    `  ${rate(used)} commits/s, ${rate(without)} without: it costs ${percent} % (goal: under ${((1 - GOALS.writer) * 100).toFixed(0)} %)`,
    `  at most ${peakLagSeconds.toFixed(1)} s behind, ${afterSeconds.toFixed(1)} s after the last commit nothing was missing`,
    `  resident memory ${megabytes(peakResident)} MB at most (goal: under ${megabytes(GOALS.residentBytes)} MB)`,
    'a large database:',
    ...transfers.map(transferText),
  ].join('\n')
}

function transferText({ storage, uploadRate, rate, peakResident }) {
  const goal = storage === 'file:' ? GOALS.directoryRate : GOALS.s3Rate
  const range = `${megabytes(rate.min)}-${megabytes(rate.max)}`
  return `  ${storage} upload ${megabytes(uploadRate)} MB/s, restore ${megabytes(rate.median)} MB/s (${range}; goal: ${megabytes(goal)}), ${megabytes(peakResident)} MB resident at most`
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(0)
}

function progress(what) {
  process.stderr.write(`backup: ${what} ...\n`)
}
