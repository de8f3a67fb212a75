import { execFile } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)
const here = fileURLToPath(new URL('.', import.meta.url))
const fuzz = (...args: string[]) => run(process.execPath, [path.join(here, 'run.js'), ...args])

t.test('no input of the corpus breaks a decoder', async (t) => {
  const corpus = path.join(here, 'corpus')
  const { stdout } = await fuzz('--replay')
  const replayed = new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/: | inputs/) as [string, string]),
  )
  t.ok(replayed.size > 10)
  for (const [target, count] of replayed) {
    const files = readdirSync(path.join(corpus, target))
    t.equal(Number(count), files.length, target)
    t.ok(files.length > 0, `${target} has a corpus`)
    for (const file of files) t.ok(statSync(path.join(corpus, target, file)).size <= 4000, `${target}/${file} is small`)
  }
  t.same([...replayed.keys()].sort(), readdirSync(corpus).sort(), 'and there is none of what is not fuzzed')
})

t.test('mutation finds what the corpus does not have, guided by coverage', async (t) => {
  const { stdout } = await fuzz('--seconds=1', '--seed=1', 'position-map')
  t.match(stdout, /position-map: \d{3,} inputs, \d\d+ blocks and errors reached by \d+ of them/)
})

t.test('an unknown target is refused', async (t) => {
  await t.rejects(fuzz('nothing'), { message: /Cannot fuzz nothing: there is no such target/ })
})
