// SQLite through litefs against SQLite on the same disk, in the same run. See usage in arguments.js.
import { mkdir, mkdtemp, statfs, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { readArguments, usage } from './arguments.js'
import { backupText, measureBackup } from './backup.js'
import { writeCharts } from './charts.js'
import { measureFootprint } from './footprint.js'
import { measureGrowingWal } from './growing-wal.js'
import { largeText, measureLarge } from './large.js'
import { loadText, measureLoad } from './load.js'
import { removeDirectory, startMount } from './mount.js'
import { measureProxy, proxyText } from './proxy.js'
import { measureReplication, replicationText } from './replication.js'
import { footprintText, summarize, workloadTable } from './report.js'
import { measureWorkload } from './rounds.js'
import { workloads } from './workloads.js'

const TMPFS_MAGIC = 0x01021994 // linux/magic.h

/** A fresh directory in each given one, so that no database is in the way and all can be removed. */
async function useDirectories(directories, cleanups) {
  const used = []
  for (const directory of directories) {
    const fresh = await mkdtemp(path.join(directory.path, 'litefs-bench-'))
    cleanups.push(() => removeDirectory(fresh))
    used.push({ name: directory.name, path: fresh })
  }
  return used
}

async function startOwnDirectories(cleanups) {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-bench-'))
  cleanups.push(() => removeDirectory(base))
  if ((await statfs(base)).type === TMPFS_MAGIC) {
    console.log(`Note: ${base} is in memory (tmpfs), where fsync costs nothing. Set TMPDIR to a directory on a disk.`)
  }
  const native = path.join(base, 'native')
  await mkdir(native)
  const mount = await startMount(base)
  cleanups.push(mount.stop)
  return {
    mount,
    directories: [
      { name: 'native', path: native },
      { name: 'litefs', path: mount.mountPath },
    ],
  }
}

function machineText() {
  const [cpu] = os.cpus()
  return `Node ${process.version}, Linux ${os.release()}, ${os.cpus().length} x ${cpu.model.trim()}`
}

function printHeader({ rounds, seconds }) {
  console.log(machineText())
  console.log(`${rounds} rounds of ${seconds} s, directories in turn, page size 4096; median (lowest-highest).`)
  console.log('Disks and virtual machines are noisy: compare the ratios, taken round by round, not the rates.\n')
}

async function benchReplication({ replicatedBytes, timing }, cleanups, signal) {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-bench-'))
  cleanups.push(async () => {
    for (const name of ['primary', 'replica']) await removeDirectory(path.join(base, name))
    await removeDirectory(base)
  })
  const figures = await measureReplication(base, { bytes: replicatedBytes, ...timing, signal })
  console.log(`\n${replicationText(figures)}`)
  return figures
}

async function benchProxy({ timing }, cleanups, signal) {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-bench-'))
  cleanups.push(() => removeDirectory(base))
  const figures = await measureProxy(base, { ...timing, signal })
  console.log(`\n${proxyText(figures)}`)
  return figures
}

async function benchBackup({ replicatedBytes, timing }, cleanups, signal) {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-bench-'))
  cleanups.push(async () => {
    for (const name of ['with', 'without']) await removeDirectory(path.join(base, name))
    await removeDirectory(base)
  })
  const figures = await measureBackup(base, { bytes: replicatedBytes, ...timing, signal })
  console.log(`\n${backupText(figures)}`)
  return figures
}

async function benchLarge({ largeBytes, timing }, cleanups, signal) {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-bench-'))
  cleanups.push(() => removeDirectory(base))
  const large = await measureLarge(base, { bytes: largeBytes, ...timing, signal })
  console.log(`\n${largeText(large)}`)
  console.log(`\n${workloadTable(large.summaries, [{ name: 'baseline' }, { name: 'measured' }])}`)
  return large
}

/** @param {AbortSignal} signal */
async function bench(options, cleanups, signal) {
  printHeader(options.timing)
  const own = options.directories.length === 0
  const alone = ['replication', 'proxy', 'backup', 'large']
  const isUsual = (name) => !alone.includes(name)
  const wantsUsual = options.only.length === 0 || options.only.some(isUsual)
  const usual = wantsUsual ? await benchUsual(options, cleanups, signal) : { workloads: [] }
  const replication =
    own && options.wants('replication') ? await benchReplication(options, cleanups, signal) : undefined
  const proxy = own && options.wants('proxy') ? await benchProxy(options, cleanups, signal) : undefined
  const backup =
    own && options.wants('backup', { slow: true }) ? await benchBackup(options, cleanups, signal) : undefined
  const large = options.largeBytes > 0 ? await benchLarge(options, cleanups, signal) : undefined
  const date = new Date().toISOString()
  if (options.json) {
    const machine = { node: process.version, kernel: os.release(), cpus: os.cpus().map(({ model }) => model) }
    const document = { date, machine, timing: options.timing, ...usual, replication, proxy, backup, large }
    await writeFile(options.json, `${JSON.stringify(document, null, 2)}\n`)
  }
  if (options.svg) await writeCharts(options.svg, usual, [commandText(), `${date.slice(0, 10)}, ${machineText()}`])
}

/** What the user typed, without the files that it wrote. */
function commandText() {
  const words = process.argv
    .slice(2)
    .join(' ')
    .replaceAll(/ ?--(?:svg|json)[ =]\S+/g, '')
  return `npm run bench -- ${words}`.replace(/ --? ?$/, '')
}

async function benchUsual(options, cleanups, signal) {
  const { timing, wants } = options
  const own = options.directories.length === 0 ? await startOwnDirectories(cleanups) : undefined
  const directories = own?.directories ?? (await useDirectories(options.directories, cleanups))

  const footprint = own && wants('footprint') ? await benchFootprint(own.mount, timing, signal) : undefined
  const summaries = []
  for (const workload of workloads.filter(({ name, slow }) => wants(name, { slow }))) {
    process.stderr.write(`${workload.title} ...\n`)
    const rates = await measureWorkload(workload, directories, { ...timing, signal })
    summaries.push(summarize(workload, directories, rates))
  }
  if (summaries.length > 0) console.log(`\n${workloadTable(summaries, directories)}`)
  const load = own && wants('load') ? await benchLoad(own.mount, timing, signal) : undefined
  const growingWal = wants('growing-wal', { slow: true })
    ? await benchGrowingWal(directories, timing, signal)
    : undefined
  return { footprint, workloads: summaries, load, growingWal }
}

async function benchFootprint(mount, timing, signal) {
  const { idleSeconds: seconds, settleSeconds } = timing
  const footprint = await measureFootprint(mount, { seconds, settleSeconds, signal })
  console.log(`${footprintText(footprint)}\n`)
  return footprint
}

async function benchLoad(mount, timing, signal) {
  const loads = await measureLoad(mount, { seconds: timing.idleSeconds, signal })
  console.log(`\n${loadText(loads)}`)
  return loads
}

async function benchGrowingWal(directories, timing, signal) {
  const results = await measureGrowingWal(directories, { ...timing, signal })
  const [{ summary }] = results
  console.log(
    `\n${workloadTable(
      results.map((result) => result.summary),
      summary.directories,
    )}`,
  )
  return results
}

async function main() {
  const options = readArguments(process.argv.slice(2))
  if (options.help) return console.log(usage)
  const interruption = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(name, () => interruption.abort(new Error(`Stopped by ${name}`)))
  }
  const cleanups = []
  try {
    await bench(options, cleanups, interruption.signal)
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup()
  }
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
