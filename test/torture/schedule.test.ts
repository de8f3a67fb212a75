import t from 'tap'
import { FAULTS, formatSchedule, parseSchedule, type Step, scheduleFaults } from './schedule.js'

/** A linear congruential generator (Numerical Recipes). */
function numbers(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}

t.test('the same numbers make the same schedule, which can be written down', async (t) => {
  const options = { durationMs: 600_000, nodes: 3, faults: FAULTS }
  const steps = scheduleFaults(numbers(7), options)
  t.strictSame(scheduleFaults(numbers(7), options), steps)
  t.notSame(scheduleFaults(numbers(8), options), steps)
  t.strictSame(parseSchedule(formatSchedule(steps)), steps)
  t.strictSame(parseSchedule(''), [])
  t.throws(() => parseSchedule('100 sabotage 1 2 3'), /Cannot read "100 sabotage 1 2 3".*kill/)
})

t.test('everything happens, to everybody, and never two things to one of them at once', async (t) => {
  const steps = scheduleFaults(numbers(1), { durationMs: 3_600_000, nodes: 3, faults: FAULTS })
  for (const fault of FAULTS) {
    const nodes = steps.filter((step) => step.fault === fault).map(({ node }) => node)
    t.same(new Set(nodes), new Set([0, 1, 2]), `${nodes.length} times ${fault}`)
  }
  const isStore = ({ fault }: Step) => fault.startsWith('store')
  const overlapping = steps.flatMap((step, i) => {
    const during = steps.slice(0, i).filter(({ atMs, forMs }) => atMs + forMs > step.atMs)
    return during.map((other) => [step, other] as const)
  })
  t.ok(overlapping.length > 100, `${overlapping.length} begin while another lasts`)
  const ofOne = overlapping.filter(([a, b]) => isStore(a) === isStore(b) && (isStore(a) || a.node === b.node))
  t.strictSame(ofOne, [])
})
