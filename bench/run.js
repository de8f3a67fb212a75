// SQLite through litefs against SQLite on the same disk, in the same run. See usage below.
import { mkdir, mkdtemp, statfs, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { measureFootprint } from './footprint.js'
import { largeText, measureLarge } from './large.js'
import { removeDirectory, startMount } from './mount.js'
import { measureProxy, proxyText } from './proxy.js'
import { measureReplication, replicationText } from './replication.js'
import { footprintText, summarize, workloadTable } from './report.js'
import { measureWorkload } from './rounds.js'
import { workloads } from './workloads.js'

const usage = `Usage: npm run bench -- [--quick] [--only NAME ...] [--dir NAME=PATH ...] [--json FILE]

  --quick          short rounds, done in about three minutes
  --only NAME      only these: ${workloads.map(({ name }) => name).join(', ')}, footprint,
                   replication (two nodes), proxy, large (not part of a usual run: a database of 10 GB, which takes minutes and twice the space)
  --large-size GB  another size for large
  --dir NAME=PATH  compare these directories instead (the first is what the others are compared with);
                   databases are made in them and removed again
  --json FILE      all samples as JSON

Without --dir it compares a directory with a litefs mount it starts itself, both under the directory for
temporary files (set TMPDIR to choose the disk).`

const LARGE = 'large'
const REPLICATION = 'replication'
const PROXY = 'proxy'
/** Of the database that a replica fetches, bytes. */
const REPLICATED_BYTES = { quick: 500e6, full: 1e9 }
const TMPFS_MAGIC = 0x01021994 // linux/magic.h

function readArguments() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      dir: { type: 'string', multiple: true, default: [] },
      'large-size': { type: 'string', default: '10' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const names = [...workloads.map(({ name }) => name), 'footprint', REPLICATION, PROXY, LARGE]
  const unknown = values.only.find((name) => !names.includes(name))
  if (unknown !== undefined) throw new Error(`Cannot run "${unknown}": choose from ${names.join(', ')}`)
  return {
    ...values,
    directories: values.dir.map(readDirectory),
    largeBytes: values.only.includes(LARGE) ? Number(values['large-size']) * 1e9 : 0,
    replicatedBytes: values.quick ? REPLICATED_BYTES.quick : REPLICATED_BYTES.full,
    wants: (name) => values.only.length === 0 || values.only.includes(name),
    timing: values.quick ? { rounds: 5, seconds: 1, idleSeconds: 4 } : { rounds: 9, seconds: 3, idleSeconds: 20 },
  }
}

function readDirectory(text) {
  const [name, ...rest] = text.split('=')
  if (rest.length === 0) throw new Error(`Cannot read --dir ${text}: expected NAME=PATH`)
  return { name, path: path.resolve(rest.join('=')) }
}

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

function printHeader({ rounds, seconds }) {
  const [cpu] = os.cpus()
  console.log(`Node ${process.version}, Linux ${os.release()}, ${os.cpus().length} x ${cpu.model.trim()}`)
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
  const isUsual = (name) => ![LARGE, REPLICATION, PROXY].includes(name)
  const usual =
    options.only.some(isUsual) || options.only.length === 0 ? await benchUsual(options, cleanups, signal) : {}
  const ownDisk = options.directories.length === 0
  const replication =
    ownDisk && options.wants(REPLICATION) ? await benchReplication(options, cleanups, signal) : undefined
  const proxy = ownDisk && options.wants(PROXY) ? await benchProxy(options, cleanups, signal) : undefined
  const large = options.largeBytes > 0 ? await benchLarge(options, cleanups, signal) : undefined
  if (options.json) {
    const machine = { node: process.version, kernel: os.release(), cpus: os.cpus().map(({ model }) => model) }
    const document = {
      date: new Date().toISOString(),
      machine,
      timing: options.timing,
      ...usual,
      replication,
      proxy,
      large,
    }
    await writeFile(options.json, `${JSON.stringify(document, null, 2)}\n`)
  }
}

async function benchUsual(options, cleanups, signal) {
  const { timing, wants } = options
  const own = options.directories.length === 0 ? await startOwnDirectories(cleanups) : undefined
  const directories = own?.directories ?? (await useDirectories(options.directories, cleanups))

  let footprint
  if (own && wants('footprint')) {
    footprint = await measureFootprint(own.mount, { seconds: timing.idleSeconds, signal })
    console.log(`${footprintText(footprint)}\n`)
  }
  const summaries = []
  for (const workload of workloads.filter(({ name }) => wants(name))) {
    process.stderr.write(`${workload.title} ...\n`)
    const rates = await measureWorkload(workload, directories, { ...timing, signal })
    summaries.push(summarize(workload, directories, rates))
  }
  if (summaries.length > 0) console.log(`\n${workloadTable(summaries, directories)}`)
  return { footprint, workloads: summaries }
}

async function main() {
  const options = readArguments()
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
