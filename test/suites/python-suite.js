// Python's own tests of its SQLite module, with the directory for temporary files in the place that is tested.
import { ordinaryUser, run } from './child.js'
import { fetchPythonTests } from './debian.js'

/** @returns {Promise<import('./sqlite-suite.js').Suite>} */
export async function pythonSuite() {
  const library = await fetchPythonTests()
  return {
    names: ['test_sqlite3'],
    run: async (name, directory, timeoutMs) => {
      const env = {
        ...process.env,
        PYTHONPATH: library,
        PYTHONDONTWRITEBYTECODE: '1',
        TMPDIR: directory,
        HOME: directory,
      }
      const words = ['-m', 'test', '-v', name]
      const ended = await run('/usr/bin/python3', words, { cwd: directory, env, timeoutMs, ...ordinaryUser })
      return readResult(ended)
    },
  }
}

function readResult({ code, signal, timedOut, output }) {
  const count = /^Ran (\d+) tests? in /m.exec(output)?.[1]
  const failures = [...output.matchAll(/^(?:FAIL|ERROR): (.*)$/gm)].map(([, test]) => test)
  const result = { tests: Number(count ?? 0), failures, details: failures.length > 0 ? output.slice(-4000) : '' }
  if (timedOut) return { ...result, problem: 'it took too long' }
  if (count === undefined)
    return { ...result, problem: `it ended with ${signal ?? `code ${code}`}`, details: output.slice(-4000) }
  return result
}
