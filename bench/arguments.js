import path from 'node:path'
import { parseArgs } from 'node:util'
import { workloads } from './workloads.js'

/** What is measured besides the workloads. */
export const EXTRAS = ['footprint', 'load', 'growing-wal', 'replication', 'proxy', 'backup', 'large']

export const usage = `Usage: npm run bench -- [--quick] [--only NAME ...] [--dir NAME=PATH ...] [--json FILE] [--svg DIR]

  --quick          short rounds and no slow workloads, done within three minutes
  --only NAME      only these: ${workloads.map(({ name }) => name).join(', ')},
                   footprint (idle), load (memory and processor under a writer), growing-wal (a WAL of 1 GB; not with --quick),
                   replication (two nodes), proxy, backup, large (not part of a usual run: a database of 10 GB, which takes minutes and twice the space)
  --large-size GB  another size for large
  --dir NAME=PATH  compare these directories instead (the first is what the others are compared with), for instance
                   --dir native=/var/tmp --dir litefs=/litefs --dir nfs=/mnt/nfs; databases are made in them and removed again
  --rounds N       of each workload, instead of 9, or 5 with --quick
  --seconds N      of each round, instead of 3, or 0.6 with --quick
  --json FILE      all samples as JSON
  --svg DIR        charts: ratios.svg, and growing-wal.svg if that was measured

Without --dir it compares a directory with a litefs mount it starts itself, both under the directory for
temporary files (set TMPDIR to choose the disk).`

/** Of the database that a replica fetches, bytes. */
const REPLICATED_BYTES = { quick: 500e6, full: 1e9 }
const TIMINGS = {
  quick: { rounds: 5, seconds: 0.6, idleSeconds: 4, settleSeconds: 1 },
  full: { rounds: 9, seconds: 3, idleSeconds: 20, settleSeconds: 30 },
}

/** The command line of the benchmarks. Throws what is wrong with it. @param {string[]} args */
export function readArguments(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      dir: { type: 'string', multiple: true, default: [] },
      'large-size': { type: 'string', default: '10' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'string' },
      svg: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const names = [...workloads.map(({ name }) => name), ...EXTRAS]
  const unknown = values.only.find((name) => !names.includes(name))
  if (unknown !== undefined) throw new Error(`Cannot run "${unknown}": choose from ${names.join(', ')}`)
  const { only, quick } = values
  const usual = TIMINGS[quick ? 'quick' : 'full']
  const rounds = values.rounds === undefined ? usual.rounds : readNumber('--rounds', values.rounds, 1)
  const seconds = values.seconds === undefined ? usual.seconds : readNumber('--seconds', values.seconds, 0.01)
  return {
    ...values,
    directories: values.dir.map(readDirectory),
    largeBytes: only.includes('large') ? readNumber('--large-size', values['large-size'], 0.01) * 1e9 : 0,
    replicatedBytes: REPLICATED_BYTES[quick ? 'quick' : 'full'],
    wants: (name, { slow = false } = {}) => (only.length === 0 ? !(slow && quick) : only.includes(name)),
    timing: { ...usual, rounds, seconds },
  }
}

function readNumber(option, text, least) {
  const number = Number(text)
  const whole = option !== '--rounds' || Number.isInteger(number)
  if (!whole || !(number >= least)) throw new Error(`Cannot use ${option} ${text}: expected a number from ${least}`)
  return number
}

function readDirectory(text) {
  const [name, ...rest] = text.split('=')
  if (rest.length === 0) throw new Error(`Cannot read --dir ${text}: expected NAME=PATH`)
  return { name, path: path.resolve(rest.join('=')) }
}
