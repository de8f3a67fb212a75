import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const script = fileURLToPath(new URL('../bench/run.js', import.meta.url))
/** One that reads, one that writes, one with processes of its own, one with many files: the shapes that there are. */
const NAMES = ['read-cold', 'batch-delete-full', 'mixed', 'vacuum']

interface Figures {
  readonly workloads: readonly {
    readonly name: string
    readonly directories: readonly {
      readonly name: string
      readonly rates: number[]
      readonly ratio: { readonly median: number }
    }[]
  }[]
}

function run(args: readonly string[]): string {
  return execFileSync(process.execPath, [script, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

t.test('workloads are compared in any directories, with figures, a chart, and nothing left behind', async (t) => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'litefs-bench-test-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const [first, second] = ['first', 'second'].map((name) => path.join(directory, name))
  if (first === undefined || second === undefined) throw new Error('Cannot compare less than two directories')
  for (const each of [first, second]) mkdirSync(each)
  const json = path.join(directory, 'figures.json')
  const svg = path.join(directory, 'charts')
  const only = NAMES.flatMap((name) => ['--only', name])
  const directories = ['--dir', `one=${first}`, '--dir', `a<b=${second}`]
  const timing = ['--rounds', '2', '--seconds', '0.02']
  const table = run([...only, ...directories, ...timing, '--json', json, '--svg', svg])

  const figures = JSON.parse(readFileSync(json, 'utf8')) as Figures
  t.same(
    figures.workloads.map(({ name }) => name),
    NAMES,
  )
  for (const { name, directories } of figures.workloads) {
    t.same(
      directories.map((each) => each.name),
      ['one', 'a<b'],
    )
    for (const { rates } of directories) t.ok(rates.length === 2 && rates.every((rate) => rate > 0), name)
    t.equal(directories[0]?.ratio.median, 1)
  }
  t.match(table, /a<b : one/)
  t.same(
    [first, second].map((each) => readdirSync(each)),
    [[], []],
    'databases are removed again',
  )

  t.same(readdirSync(svg), ['ratios.svg'])
  // Python's parser says whether it is XML.
  const words = 'import sys, xml.dom.minidom as m; d = m.parse(sys.argv[1]); print(len(d.getElementsByTagName("rect")))'
  const rectangles = execFileSync('python3', ['-c', words, path.join(svg, 'ratios.svg')], { encoding: 'utf8' })
  t.equal(Number(rectangles), 1 + NAMES.length, 'the background, and a bar for each')
})

t.test('wrong words are refused', async (t) => {
  const refusals = [
    { args: ['--only', 'nothing'], says: /Cannot run "nothing": choose from read-wal/ },
    { args: ['--dir', 'here'], says: /Cannot read --dir here: expected NAME=PATH/ },
    { args: ['--rounds', '1.5'], says: /Cannot use --rounds 1.5/ },
    { args: ['--seconds', 'x'], says: /Cannot use --seconds x/ },
  ]
  for (const { args, says } of refusals) t.throws(() => run(args), { message: says })
})
