import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { residentMemory } from './footprint.js'
import { startMount } from './mount.js'
import { summarize } from './report.js'
import { measureWorkload } from './rounds.js'
import { largeWorkloads } from './workloads/large-databases.js'

const LARGE = 'large.db'
const SMALL = 'small.db'
const SMALL_BYTES = 10e6
const PAGE_SIZE = 4096
const TIMEOUT_MS = 600_000 // nothing here takes as long, whatever the disk
const SAMPLE_MS = 200
const READ_BYTES = 1 << 20
const buildScript = fileURLToPath(new URL('large-build.js', import.meta.url))

/**
 * What a database of many gigabytes costs: its import, memory, starts after a clean stop and after a crash, and commits compared with
 * those of a small one. Needs twice its size on the disk.
 *
 * @param {string} directory an empty directory
 * @param {{ bytes: number, rounds: number, seconds: number, signal: AbortSignal }} options
 */
export async function measureLarge(directory, { bytes, rounds, seconds, signal }) {
  const files = { large: path.join(directory, LARGE), small: path.join(directory, SMALL) }
  await build(files.large, bytes, signal)
  await build(files.small, SMALL_BYTES, signal)
  const { size } = await stat(files.large)
  const start = () => startMount(directory, { timeoutMs: TIMEOUT_MS })
  let mount
  const emptyStartMs = await timed(async () => {
    mount = await start()
  })
  try {
    const imported = await importDatabases(mount, files, signal)
    const stopMs = await timed(() => mount.stop())
    const cleanStartMs = await timed(async () => {
      mount = await start()
    })
    const residentBytes = await residentMemory(mount.pid)
    mount.kill()
    await mount.stop()
    await readWhole(path.join(mount.dataPath, 'dbs', LARGE, 'database'))
    const crashStartMs = await timed(async () => {
      mount = await start()
    })
    const summaries = await compareCommits(mount.mountPath, { rounds, seconds, signal })
    const starts = { emptyStartMs, cleanStartMs, crashStartMs }
    return { size, pages: size / PAGE_SIZE, ...imported, stopMs, ...starts, residentBytes, summaries }
  } finally {
    await mount.stop()
  }
}

/** Copies both into the mount, and removes what was copied. */
async function importDatabases({ mountPath, pid }, files, signal) {
  await importDatabase(mountPath, files.small, SMALL, signal)
  const before = await residentMemory(pid)
  let peak = before
  const sampling = setInterval(async () => {
    peak = Math.max(peak, await residentMemory(pid).catch(() => 0))
  }, SAMPLE_MS)
  try {
    const importMs = await timed(() => importDatabase(mountPath, files.large, LARGE, signal))
    return { importMs, residentBefore: before, residentPeak: peak }
  } finally {
    clearInterval(sampling)
  }
}

async function importDatabase(mountPath, file, name, signal) {
  await run('cp', [file, path.join(mountPath, name)], signal)
  await rm(file)
  // The last close of the copy makes it a transaction; only then there is a position.
  const deadline = Date.now() + TIMEOUT_MS
  while (!(await hasPosition(path.join(mountPath, `${name}-pos`)))) {
    if (Date.now() > deadline) throw new Error(`Cannot import ${file}: it has no position after ${TIMEOUT_MS} ms`)
    await delay(SAMPLE_MS, undefined, { signal })
  }
}

function hasPosition(file) {
  return readFile(file).then(
    () => true,
    () => false,
  )
}

async function compareCommits(mountPath, options) {
  const named = (name, database) => ({ name, path: mountPath, database })
  const summaries = []
  for (const workload of largeWorkloads) {
    process.stderr.write(`${workload.title} ...\n`)
    const { baseline, measured } = workload.databases
    const directories = [named('baseline', baseline), named('measured', measured)]
    summaries.push(summarize(workload, directories, await measureWorkload(workload, directories, options)))
  }
  return summaries
}

function build(file, bytes, signal) {
  return run(process.execPath, [buildScript, file, String(bytes)], signal)
}

async function run(command, args, signal) {
  const child = spawn(command, args, { stdio: 'inherit', signal })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`Cannot run ${command} ${args.join(' ')}: exit code ${code}`)
}

/** Reads a file, so that what comes next measures us and not the disk. */
async function readWhole(file) {
  const handle = await open(file)
  const buffer = Buffer.alloc(READ_BYTES)
  try {
    while ((await handle.read(buffer)).bytesRead > 0);
  } finally {
    await handle.close()
  }
}

/** Milliseconds that `work` takes. */
async function timed(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** @param {Awaited<ReturnType<typeof measureLarge>>} large */
export function largeText(large) {
  const { size, pages, residentBytes, residentBefore, residentPeak } = large
  const perPage = (bytes) => `${(bytes / pages).toFixed(1)} bytes per page`
  const rate = (milliseconds) => `${(size / 1e6 / milliseconds).toFixed(2)} GB/s`
  return [
    `a database of ${(size / 1e9).toFixed(1)} GB, ${pages.toLocaleString('en-US')} pages:`,
    `  import ${seconds(large.importMs)}, ${rate(large.importMs)}; peak memory ${megabytes(residentPeak)}, ${perPage(residentPeak - residentBefore)}`,
    `  clean stop ${seconds(large.stopMs)}, clean start ${seconds(large.cleanStartMs)} (goal: under 1 s; without a database ${seconds(large.emptyStartMs)})`,
    `  start after a crash ${seconds(large.crashStartMs)}, ${rate(large.crashStartMs)} (goal: 2 GB/s)`,
    `  resident memory after a clean start ${megabytes(residentBytes)}, ${perPage(residentBytes - residentBefore)} more than before the import (goal: 16)`,
  ].join('\n')
}

function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(2)} s`
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(0)} MB`
}
