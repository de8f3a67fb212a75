// SQLite's own suite: each test file is run by the test program in a process and a directory of its own.
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ordinaryUser, run, runOrFail } from './child.js'
import { buildTestfixture } from './debian.js'

const listScript = fileURLToPath(new URL('list-suite.tcl', import.meta.url))

/**
 * @typedef {object} Result
 * @property {number} tests how many were run
 * @property {string[]} failures names of those that failed
 * @property {string} [problem] it did not come to its end, or something else than a test was wrong
 * @property {string} details what it printed about failures
 *
 * @typedef {object} Suite
 * @property {string[]} names its test files
 * @property {(name: string, directory: string, timeoutMs: number) => Promise<Result>} run runs one of them in a directory
 */

/**
 * @param {string} permutation a name of SQLite's permutations.test: veryquick, full, wal, exclusive, ...
 * @param {string[]} patterns choose among its files, shell style: `wal*.test`; none for all
 * @param {string} scratch a directory to work in
 * @returns {Promise<Suite>}
 */
export async function sqliteSuite(permutation, patterns, scratch) {
  const { build, tests } = await buildTestfixture()
  const program = path.join(build, 'testfixture')
  const { stdout } = await runOrFail(program, [listScript, tests, permutation], { cwd: scratch })
  const all = [
    ...new Set(
      stdout
        .trim()
        .split('\n')
        .map((file) => path.basename(file)),
    ),
  ]
  const wanted = patterns.map((pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`))
  const names = all.filter((name) => wanted.length === 0 || wanted.some((expression) => expression.test(name)))
  if (names.length === 0) throw new Error(`Cannot run tests: ${permutation} has none called ${patterns.join(' ')}`)

  return {
    names,
    run: async (name, directory, timeoutMs) => {
      const words = [path.join(tests, 'permutations.test'), permutation, name, `--testdir=${directory}`, '--verbose=0']
      const env = { ...process.env, HOME: directory }
      return readResult(await run(program, words, { cwd: build, env, timeoutMs, ...ordinaryUser }))
    },
  }
}

/** @returns {Result} */
function readResult({ code, signal, timedOut, output }) {
  const [, , count] = /^(\d+) (?:new )?errors.* out of (\d+) tests/m.exec(output) ?? []
  const failures = /^!Failures on these tests: (.*)$/m.exec(output)?.[1]?.split(' ') ?? []
  const result = { tests: Number(count ?? 0), failures, details: detailsOf(output) }
  if (timedOut) return { ...result, problem: 'it took too long' }
  if (count === undefined) return { ...result, problem: `it ended with ${signal ?? `code ${code}`}` }
  const leftovers = output.match(/^\d+ files were left open|^Unfreed memory/gm)
  return leftovers === null ? result : { ...result, problem: leftovers.join(', ') }
}

/** A failed test is `! NAME expected: ...` and `! NAME got: ...`, or the line `Error: ...` below its name. */
function detailsOf(output) {
  const lines = output.split('\n')
  const told = lines.filter((line) => /^(?:! |Error: |\S*testfixture: )/.test(line)).slice(0, 40)
  return told.length > 0 ? told.join('\n') : lines.slice(-20).join('\n')
}
