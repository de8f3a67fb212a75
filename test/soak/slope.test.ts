import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)
const slope = new URL('slope.js', import.meta.url).href

/** What slope.js makes of points, seconds and megabytes. */
async function judged(points: readonly (readonly [number, number])[], group: number) {
  const text = JSON.stringify(points.map(([seconds, value]) => ({ atMs: seconds * 1000, value })))
  const script = `import { leastOf, slopeOf } from '${slope}'; console.log(JSON.stringify(slopeOf(leastOf(${text}, ${group}))))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script])
  return JSON.parse(stdout) as { perHour: number; error: number }
}

/** A heap that is collected every ten seconds, on top of what grows by `perHour`. */
function sawtooth(perHour: number): [number, number][] {
  return Array.from({ length: 600 }, (_, second) => [second, 100 + 3 * (second % 10) + (second * perHour) / 3600])
}

t.test('a leak below the saw of a garbage collector is seen, and the saw is not', async (t) => {
  const flat = await judged(sawtooth(0), 30)
  t.ok(Math.abs(flat.perHour) < 0.001 && flat.error < 0.001, JSON.stringify(flat))
  const leak = await judged(sawtooth(60), 30)
  t.ok(Math.abs(leak.perHour - 60) < 1 && leak.error < 1, JSON.stringify(leak))
})

t.test('the slope is that of least squares, with its error', async (t) => {
  // Python: statistics.linear_regression([0, 1, 2, 3], [1, 3, 2, 4]) has the slope 0.8; its standard error is 0.4243.
  const { perHour, error } = await judged(
    [
      [0, 1],
      [1, 3],
      [2, 2],
      [3, 4],
    ],
    1,
  )
  t.ok(Math.abs(perHour / 3600 - 0.8) < 1e-9)
  t.ok(Math.abs(error / 3600 - 2 * 0.4243) < 1e-3)
})

t.test('the soak runs', async (t) => {
  const { stdout } = await run(process.execPath, [fileURLToPath(new URL('run.js', import.meta.url)), '--seconds=4'])
  t.match(stdout, /\d+ commits, \d+ databases dropped/)
  t.match(stdout, /primary: \d+ MB/)
})
