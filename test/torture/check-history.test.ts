// The checker finds what was planted in histories that are right without it.
import t from 'tap'
import { checkHistory } from './check-history.js'
import type { Attempt, Entry, History } from './history.js'

/** Two primaries, one after the other: the first commits 6 and is lost with the last two of them, the second goes on after the fourth. */
function soundHistory(): History {
  const first = chain('n1.1', 6, [])
  const second = chain('n2.1', 4, first.slice(0, 4))
  const attempts = [
    ...first.map((entry, i) => attempt(entry, 'n1', 100 * i)),
    ...second.slice(4).map((entry, i) => attempt(entry, 'n2', 3000 + 100 * i)),
  ]
  return {
    nodes: ['n1', 'n2', 'n3'],
    attempts,
    logs: new Map([['a.db', second]]),
    setAside: [{ database: 'a.db', node: 'n1', log: first }],
    troubles: [{ node: 'n1', fromMs: 600, toMs: 4000 }],
  }
}

function chain(writer: string, count: number, before: readonly Entry[]): Entry[] {
  const log = [...before]
  for (let seq = 1; seq <= count; seq++) {
    log.push({ id: log.length + 1, name: `${writer}/${seq}`, previous: log.at(-1)?.name ?? '' })
  }
  return log
}

function attempt(entry: Entry, node: string, begunMs: number): Attempt {
  const epoch = node === 'n1' ? 1 : 2
  return { ...entry, database: 'a.db', node, epoch, begunMs, endedMs: begunMs + 50, acknowledged: true }
}

/** The same but for the entry or attempt with this name. */
function changed<T extends Entry>(list: readonly T[], name: string, change: Partial<T>): T[] {
  return list.map((one) => (one.name === name ? { ...one, ...change } : one))
}

function logOf({ logs }: History): readonly Entry[] {
  return logs.get('a.db') ?? []
}

function withLog(history: History, log: readonly Entry[]): History {
  return { ...history, logs: new Map([['a.db', log]]) }
}

t.test('a history without faults', async (t) => {
  t.strictSame(checkHistory(soundHistory()), { violations: [], acknowledged: 10, lost: 2, unexpected: 0 })
})

t.test('a transaction that failed may be there or not', async (t) => {
  const history = soundHistory()
  const attempts = changed(history.attempts, 'n2.1/4', { acknowledged: false })
  t.strictSame(checkHistory({ ...history, attempts }), { violations: [], acknowledged: 9, lost: 2, unexpected: 1 })
  const shorter = withLog({ ...history, attempts }, logOf(history).slice(0, -1))
  t.strictSame(checkHistory(shorter), { violations: [], acknowledged: 9, lost: 2, unexpected: 0 })
})

t.test('a primary that nobody could follow', async (t) => {
  const troubles = [
    { node: 'n1', fromMs: 2600, toMs: 4000 },
    { node: 'n2', fromMs: 0, toMs: 1000 },
    { node: 'n3', fromMs: 500, toMs: 1500 },
  ]
  t.strictSame(checkHistory({ ...soundHistory(), troubles }).violations, [])
})

t.test('planted errors', async (t) => {
  const sound = soundHistory()
  const log = logOf(sound)
  const planted: Record<string, [History, RegExp]> = {
    'an acknowledged transaction is nowhere': [
      withLog(sound, log.slice(0, -1)),
      /n2\.1\/4.*neither there nor kept aside/,
    ],
    'the loser was not kept': [{ ...sound, setAside: [] }, /n1\.1\/5.*neither there nor kept aside/],
    'another node kept it': [
      { ...sound, setAside: sound.setAside.map((aside) => ({ ...aside, node: 'n3' })) },
      /n1\.1\/6.*neither there nor kept aside/,
    ],
    'lost without a reason': [{ ...sound, troubles: [] }, /n1\.1\/5.*nothing had happened to its node/],
    'lost long before the trouble': [
      { ...sound, troubles: [{ node: 'n1', fromMs: 2600, toMs: 4000 }] },
      /n1\.1\/5.*time and somebody to send it to/,
    ],
    'lost long before the trouble, with one of two others': [
      {
        ...sound,
        troubles: [
          { node: 'n1', fromMs: 2600, toMs: 4000 },
          { node: 'n2', fromMs: 0, toMs: 3000 },
        ],
      },
      /n1\.1\/5.*time and somebody to send it to/,
    ],
    'two primaries': [
      { ...sound, attempts: changed(sound.attempts, 'n1.1/6', { begunMs: 3060, endedMs: 3070 }) },
      /n1\.1\/6.*n2 had acknowledged n2\.1\/1 under lease 2 before it began under 1/,
    ],
    'a lease of two nodes': [
      { ...sound, attempts: changed(sound.attempts, 'n2.1/1', { epoch: 1 }) },
      /n2\.1\/1.*lease 1 was that of n1/,
    ],
    'an order that was not': [
      { ...sound, attempts: changed(sound.attempts, 'n2.1/2', { begunMs: 3900, endedMs: 3950 }) },
      /n2\.1\/3.*had ended before n2\.1\/2/,
    ],
    'a gap': [withLog(sound, log.toSpliced(2, 1)), /entry 4 stands at 3/],
    twice: [withLog(sound, [...log, { id: 9, name: 'n2.1/4', previous: 'n2.1/4' }]), /n2\.1\/4 is there twice/],
    'a transaction that saw another log': [
      withLog(sound, changed(log, 'n2.1/1', { previous: 'n1.1/5' })),
      /n2\.1\/1 was written after n1\.1\/5, not n1\.1\/4/,
    ],
    'another place': [{ ...sound, attempts: changed(sound.attempts, 'n2.1/4', { id: 7 }) }, /n2\.1\/4.*moved/],
    'a database that is not there': [{ ...sound, logs: new Map() }, /n2\.1\/4.*neither there nor kept aside/],
  }
  for (const [what, [history, expected]] of Object.entries(planted)) {
    const { violations } = checkHistory(history)
    t.ok(
      violations.some((violation) => expected.test(violation)),
      `${what}: ${violations.join('; ')}`,
    )
  }
})
