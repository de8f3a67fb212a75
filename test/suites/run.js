// Runs other projects' tests of SQLite on the disk and on the mount and prints the differences; afterwards rebuilds every
// database that survived from its LTX files and compares. Ends with code 1 when anything differs. See CONTRIBUTING.md.
import { readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { removeDirectory, startMount } from '../../bench/mount.js'
import { killAll } from './child.js'
import { pythonSuite } from './python-suite.js'
import { Follower } from './replica.js'
import { Report } from './report.js'
import { sqliteSuite } from './sqlite-suite.js'
import { compareSurvivors } from './survivors.js'

const usage = `node test/suites/run.js [options] [PATTERN...]     e.g. 'wal*.test'
  --suite=NAME       a suite of SQLite's permutations.test: veryquick (default), full, wal, exclusive, ...
  --python           Python's test_sqlite3 instead
  --replica          with a replica of each mount, compared with it after each test file
  --quick            a short list, a minute
  --jobs=N           mounts, and tests, at the same time; as many as there are cores
  --batch=N          test files, in directories of their own, for one mount; 1 runs each in the root of a fresh mount
  --timeout=SECONDS  for each test file`

const { values: options, positionals: patterns } = parseArgs({
  allowPositionals: true,
  options: {
    suite: { type: 'string', default: 'veryquick' },
    python: { type: 'boolean', default: false },
    replica: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    jobs: { type: 'string', default: String(os.availableParallelism()) },
    batch: { type: 'string', default: '50' },
    timeout: { type: 'string', default: '600' },
    help: { type: 'boolean', default: false },
  },
})
const timeoutMs = Number(options.timeout) * 1000
let stopped = false
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(name, () => {
    console.log(`Stopped by ${name}`)
    stopped = true
    killAll()
  })
}

function chooseSuite(scratch) {
  if (options.python) return pythonSuite()
  if (!options.quick) return sqliteSuite(options.suite, patterns, scratch)
  const quick = readFileSync(new URL('quick.txt', import.meta.url), 'utf8')
    .trim()
    .split('\n')
  return sqliteSuite(options.suite, quick, scratch)
}

async function main(scratch) {
  const suite = await chooseSuite(scratch)
  const report = new Report()
  const queue = [...suite.names]
  const work = async () => {
    for (let names = take(queue); names.length > 0 && !stopped; names = take(queue))
      await runBatch(suite, names, scratch, report)
  }
  // All of them have to end, with their mounts, before anything below is removed.
  const ends = await Promise.allSettled(Array.from({ length: Number(options.jobs) }, work))
  const failed = ends.find(({ status }) => status === 'rejected')
  if (failed !== undefined) throw failed.reason
  process.exitCode = report.close() && !stopped ? 0 : 1
}

/** The next test files for one mount; fewer toward the end, so that all jobs end together. */
function take(queue) {
  const share = Math.ceil(queue.length / Number(options.jobs))
  return queue.splice(0, Math.min(Number(options.batch), share))
}

async function runBatch(suite, names, scratch, report) {
  const base = await newDirectory(scratch)
  // Only root's mount needs to let others in: whoever is not root runs the tests himself.
  const fuse = { 'allow-other': process.getuid() === 0 }
  const mount = await startMount(base, { fuse, data: { retention: '240h' } })
  const newOutput = reader(mount.output)
  let follower
  try {
    follower = options.replica ? await Follower.start(await newDirectory(scratch), mount) : undefined
    const newReplicaOutput = follower && reader(follower.output)
    for (const name of names) {
      if (stopped) return
      const stem = path.basename(name, '.test')
      const onDisk = await timed(suite, name, await openDirectory(path.join(base, `disk-${stem}`)))
      const directory =
        Number(options.batch) === 1 ? mount.mountPath : await openDirectory(path.join(mount.mountPath, stem))
      const onMount = await timed(suite, name, directory)
      await rm(path.join(base, `disk-${stem}`), { recursive: true })
      if (stopped) return
      report.tested(name, onDisk, onMount, newOutput())
      if (follower) report.followed(name, await follower.compare(), newReplicaOutput())
    }
    if (follower) {
      const { code, survivors } = await follower.close()
      report.stopped(names, code, newReplicaOutput())
      report.survived(names, survivors)
    }
    const code = await mount.stop()
    report.stopped(names, code, newOutput())
    report.survived(names, await compareSurvivors(mount.dataPath, base))
  } finally {
    await follower?.end()
    await mount.stop()
    await removeDirectory(base)
  }
}

/** Gives what was printed since the last call. */
function reader(output) {
  let read = 0
  return () => {
    const text = output.text().slice(read)
    read += text.length
    return text
  }
}

async function timed(suite, name, directory) {
  const startedMs = performance.now()
  const result = await suite.run(name, directory, timeoutMs)
  return { ...result, seconds: (performance.now() - startedMs) / 1000 }
}

async function newDirectory(scratch) {
  return await openDirectory(await mkdtemp(path.join(scratch, 'mount-')))
}

/** A directory that the ordinary user may write to, made if it is not there. */
async function openDirectory(directory) {
  await mkdir(directory, { recursive: true })
  await chmod(directory, 0o777)
  return directory
}

if (options.help) {
  console.log(usage)
} else {
  const scratch = await openDirectory(await mkdtemp(path.join(os.tmpdir(), 'litefs-suites-')))
  try {
    await main(scratch)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
