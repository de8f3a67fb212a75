// Fuzzes decoders: what reaches a new block of our code, or another error, is mutated further. See docs/reliability.md.
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { directoryOf, keepFailed, readCorpus, replaceCorpus } from './corpus.js'
import { Coverage } from './coverage.js'
import { mutate, randomFrom } from './mutate.js'
import { targets } from './targets.js'

const usage = `npm run fuzz -- [options] [TARGET ...]
  --seconds=N   for each target (default 60)
  --seed=N      (default: another one each time)
  --keep        put the inputs that reach most into test/fuzz/corpus
  --replay      only run the inputs that are there

Targets: ${targets.map(({ name }) => name).join(', ')}`

/** Longest time for one input, milliseconds: they are of at most 4 kB. */
const LIMIT_MS = 5_000
/** What one target may add to the process' memory, bytes. */
const MEMORY_LIMIT = 600e6
/** Inputs between two looks at the coverage, which cost more than an input. */
const BATCH = 500
/** Of an input, with room. */
const MAX_BYTES = 1 << 16

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    keep: { type: 'boolean', default: false },
    replay: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

/** Runs inputs of one target, and ends the process when one of them breaks its rule. */
class Runner {
  #target
  #memory = new SharedArrayBuffer(8 + MAX_BYTES)
  #counters = new Int32Array(this.#memory, 0, 2)
  #current = new Uint8Array(this.#memory, 8)
  #watchdog
  #before = process.memoryUsage.rss()
  count = 0

  constructor(target) {
    this.#target = target
    const file = `${directoryOf(target.name)}/failed-slow`
    const workerData = { memory: this.#memory, limitMs: LIMIT_MS, file }
    this.#watchdog = new Worker(new URL('watchdog.js', import.meta.url), { workerData })
  }

  /** The error that the target threw, without what differs between two of its kind; undefined when it took the input. */
  run(bytes) {
    const { name, errors, run } = this.#target
    this.#current.set(bytes)
    Atomics.store(this.#counters, 1, bytes.length)
    Atomics.add(this.#counters, 0, 1)
    this.count++
    try {
      run(Buffer.from(bytes))
      return undefined
    } catch (error) {
      if (errors.some((known) => error instanceof known)) return shape(error.message)
      throw new Error(`${name} broke its rule; the input is now in ${keepFailed(name, bytes)}`, { cause: error })
    }
  }

  checkMemory() {
    const used = process.memoryUsage.rss() - this.#before
    if (used > MEMORY_LIMIT) throw new Error(`${this.#target.name} took ${Math.round(used / 1e6)} MB of memory`)
  }

  async end() {
    await this.#watchdog.terminate()
  }
}

/** The reason at the end of the first line, which is ours; what is before it may quote the input. */
function shape(message) {
  const [line] = message.split('\n')
  return line
    .slice(line.lastIndexOf(': ') + 1)
    .replaceAll(/"(?:[^"\\]|\\.)*"|[0-9a-f]*\d[0-9a-f]*/g, '0')
    .slice(0, 60)
}

/** What an input does that another does not. */
function featuresOf(runner, coverage, bytes) {
  coverage.take()
  const error = runner.run(bytes)
  const features = coverage.take()
  if (error !== undefined) features.add(error)
  return features
}

function fuzz(target, runner, seconds, random) {
  const coverage = new Coverage()
  const known = new Set()
  const inputs = []
  const consider = (bytes) => {
    const features = featuresOf(runner, coverage, bytes)
    if ([...features].every((each) => known.has(each))) return
    for (const each of features) known.add(each)
    inputs.push({ bytes, features })
  }
  /** Halves what reaches something new until it is one input, since a look at the coverage costs as much as a thousand inputs. */
  const considerNew = (batch) => {
    const errors = batch.map((bytes) => runner.run(bytes))
    const reached = [...coverage.take(), ...errors.filter((error) => error !== undefined)]
    if (reached.every((each) => known.has(each))) return
    if (batch.length === 1) return consider(batch[0])
    const middle = batch.length >> 1
    considerNew(batch.slice(0, middle))
    considerNew(batch.slice(middle))
  }
  for (const { bytes } of readCorpus(target.name)) consider(bytes)
  if (inputs.length === 0) consider(Buffer.alloc(0))
  const pick = () =>
    inputs[random(3) === 0 ? random(inputs.length) : inputs.length - 1 - random(Math.min(10, inputs.length))].bytes
  const end = Date.now() + seconds * 1000
  while (Date.now() < end) {
    considerNew(Array.from({ length: BATCH }, () => mutate(pick(), pick(), target.words ?? [], random)))
    runner.checkMemory()
  }
  coverage.stop()
  return { inputs, features: known.size }
}

async function main() {
  if (options.help) return console.log(usage)
  const unknown = positionals.find((name) => !targets.some((target) => target.name === name))
  if (unknown !== undefined) throw new Error(`Cannot fuzz ${unknown}: there is no such target\n${usage}`)
  const seconds = Number(options.seconds)
  if (!(seconds > 0)) throw new Error(`Cannot fuzz for --seconds=${options.seconds}: expected a number above 0`)
  const random = randomFrom(Number(options.seed))
  if (!options.replay) console.log(`seed ${options.seed}`)
  for (const target of targets.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
    const runner = new Runner(target)
    try {
      if (options.replay) {
        for (const { bytes } of readCorpus(target.name)) runner.run(bytes)
        runner.checkMemory()
        console.log(`${target.name}: ${runner.count} inputs`)
      } else {
        const { inputs, features } = fuzz(target, runner, seconds, random)
        const kept = options.keep ? `, ${replaceCorpus(target.name, inputs)} kept` : ''
        console.log(
          `${target.name}: ${runner.count} inputs, ${features} blocks and errors reached by ${inputs.length} of them${kept}`,
        )
      }
    } finally {
      await runner.end()
    }
  }
}

try {
  await main()
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
