// The role as a function of what happens: no clock, no lease store, no disk.
import t from 'tap'
import type { PrimaryInfo } from '../../src/lease/leaser.js'
import { next, SEEKING } from '../../src/lease/role.js'
import type { RoleEffect, RoleEvent, RoleState, Term } from '../../src/lease/role-terms.js'

const TTL_MS = 10_000
const term: Term = { epoch: 3n, renewedAtMs: 1000, ttlMs: TTL_MS }
const other: PrimaryInfo = { hostname: 'other', advertiseUrl: 'http://other:20202', nodeId: 'AB', epoch: 2n }
const nobody = { type: 'looked', primary: undefined, isSelf: false, obstacle: undefined, foreign: undefined } as const

/** Plays events, each at its time, from a state on; gives the last state and all effects, without those of the log and the timer. */
function play(start: RoleState, ...events: [nowMs: number, event: RoleEvent][]) {
  let state = start
  const effects: RoleEffect[] = []
  for (const [nowMs, event] of events) {
    const step = next(state, event, nowMs)
    state = step.state
    effects.push(...step.effects)
  }
  return { state, effects, done: effects.filter((effect) => effect.do !== 'log' && effect.do !== 'wake').map(named) }
}

function named(effect: RoleEffect): string {
  if (effect.do === 'follow') return `follow ${effect.primary?.hostname ?? 'nobody'}`
  return effect.do === 'fence' ? `fence ${effect.untilMs}` : effect.do
}

function told({ effects }: { effects: readonly RoleEffect[] }): string[] {
  return effects.flatMap((effect) => (effect.do === 'log' ? [effect.message] : []))
}

/** The pause before the next tick. */
function pause({ effects }: { effects: readonly RoleEffect[] }): number | undefined {
  return effects.flatMap((effect) => (effect.do === 'wake' ? [effect.inMs] : [])).at(-1)
}

const leading = play(SEEKING, [0, { type: 'tick' }], [1, nobody], [1000, { type: 'acquired', term, handed: false }])
const primary = play(leading.state, [1100, { type: 'judged', fresher: undefined, renewedAtMs: 1000 }])

t.test('a candidate without a primary stands, asks its peers, and leads', async (t) => {
  t.strictSame(leading.done, ['look', 'acquire', 'judge'])
  t.strictSame(primary.done, ['lead'])
  t.equal(primary.state.kind, 'leading')
  t.equal(
    pause(primary),
    1000 + TTL_MS / 2 - 1100,
    'renews after half of the lease, counted from when that was asked for',
  )
})

t.test('who has nothing of the cluster, or another one, does not stand', async (t) => {
  const obstacle = play(SEEKING, [0, { type: 'tick' }], [1, { ...nobody, obstacle: 'no data' }])
  t.strictSame([obstacle.done, told(obstacle)], [['look'], ['no primary: no data']])
  const again = play(obstacle.state, [500, { type: 'tick' }], [501, { ...nobody, obstacle: 'no data' }])
  t.strictSame(told(again), [], 'the same is told once')
  const foreign = play(SEEKING, [0, { type: 'tick' }], [1, { ...nobody, primary: other, foreign: 'two ids' }])
  t.strictSame([foreign.done, told(foreign)], [['look'], ['no primary: two ids']], 'nor does it follow')
  const self = play(SEEKING, [0, { type: 'tick' }], [1, { ...nobody, primary: other, isSelf: true }])
  t.strictSame(self.done, ['look'], 'a node does not follow itself')
})

t.test('who is not the freshest gives the lease away', async (t) => {
  const { state, done } = play(leading.state, [1100, { type: 'judged', fresher: 'other is ahead', renewedAtMs: 1000 }])
  t.strictSame(done, ['release', 'look'])
  t.equal(state.kind, 'seeking')
  t.strictSame(play(state, [1200, nobody]).done, [], 'it does not stand at once again')
  t.strictSame(play(state, [2000, nobody]).done, ['acquire'])
})

t.test('a lease is renewed, and each renewal moves the fence', async (t) => {
  const renewing = play(primary.state, [6000, { type: 'tick' }])
  t.strictSame(renewing.done, ['renew'])
  const renewed = play(renewing.state, [6300, { type: 'renewed', renewedAtMs: 6001 }])
  t.strictSame(renewed.done, [`fence ${6001 + TTL_MS}`])
  t.equal(pause(renewed), 6001 + TTL_MS / 2 - 6300)
})

t.test('a lease store that does not answer: once told, tried each second, over at the end of the lease', async (t) => {
  const failing = play(
    primary.state,
    [6000, { type: 'tick' }],
    [6500, { type: 'renewFailed', reason: 'refused' }],
    [7500, { type: 'tick' }],
    [7600, { type: 'renewFailed', reason: 'refused' }],
  )
  t.strictSame(told(failing).length, 1)
  t.strictSame([failing.done, pause(failing)], [['renew', 'renew'], 1000])
  const late = play(failing.state, [10_900, { type: 'tick' }], [10_950, { type: 'renewFailed', reason: 'refused' }])
  t.equal(pause(late), 50, 'not a moment later than the lease lasts')
  const over = play(late.state, [11_000, { type: 'tick' }])
  t.strictSame([over.state.kind, over.done], ['suspended', ['follow nobody']])
  t.strictSame(play(over.state, [12_000, { type: 'tick' }]).done, ['renew'], 'it may still have it')
  const back = play(over.state, [12_000, { type: 'tick' }], [12_100, { type: 'renewed', renewedAtMs: 12_001 }])
  t.strictSame([back.state.kind, back.done], ['leading', ['renew', 'lead']])
  const stale = play(over.state, [12_000, { type: 'tick' }], [30_000, { type: 'renewed', renewedAtMs: 12_001 }])
  t.equal(stale.state.kind, 'suspended', 'an answer that was on its way for as long as a lease lasts')
  const gone = play(over.state, [12_000, { type: 'tick' }], [12_100, { type: 'lost', reason: 'gone' }])
  t.strictSame([gone.state.kind, gone.done], ['seeking', ['renew', 'look']])
})

t.test('a process that was stopped for longer than its lease finds it over before it asks', async (t) => {
  const { state, done } = play(primary.state, [60_000, { type: 'tick' }])
  t.strictSame([state.kind, done], ['suspended', ['follow nobody']])
})

t.test('a lost lease ends the role at once', async (t) => {
  const lost = play(primary.state, [6000, { type: 'tick' }], [6100, { type: 'lost', reason: 'another has it' }])
  t.strictSame(lost.done, ['renew', 'follow nobody', 'look'])
  t.strictSame(play(lost.state, [6200, { ...nobody, primary: other }]).done, ['follow other'])
})

t.test('a replica asks for another primary only while it does not hear its own', async (t) => {
  const following = play(SEEKING, [0, { type: 'tick' }], [1, { ...nobody, primary: other }], [50, { type: 'heard' }])
  t.strictSame(following.done, ['look', 'follow other'])
  t.match(told(following), ['existing primary found (other), connecting as replica to "http://other:20202"'])
  t.strictSame(play(following.state, [1000, { type: 'tick' }]).done, [])
  const unheard = play(following.state, [5000, { type: 'unheard' }], [5250, { type: 'tick' }])
  t.strictSame(unheard.done, ['look'])
  t.strictSame(
    play(unheard.state, [5300, { ...nobody, primary: other }]).done,
    [],
    'the same one, which it goes on to try',
  )
  const newer = { ...other, hostname: 'third', advertiseUrl: 'http://third:20202', epoch: 3n }
  t.strictSame(play(unheard.state, [5300, { ...nobody, primary: newer }]).done, ['follow third'])
  t.strictSame(play(unheard.state, [5300, nobody]).done, ['follow nobody', 'acquire'])
  t.strictSame(play(unheard.state, [5290, { type: 'heard' }], [5300, nobody]).done, [], 'it is heard again')
})

t.test('a lease that is handed over needs no judgement of the peers', async (t) => {
  const following = play(SEEKING, [0, { type: 'tick' }], [1, { ...nobody, primary: other }], [50, { type: 'heard' }])
  const offered = play(following.state, [60, { type: 'offered', leaseId: 'x' }])
  t.strictSame(offered.done, ['takeOver'])
  const taken = play(offered.state, [70, { type: 'acquired', term, handed: true }])
  t.strictSame([taken.state.kind, taken.done], ['leading', ['lead']])
  for (const answer of [{ type: 'refused' }, { type: 'storeFailed', reason: 'down' }] as const) {
    const left = play(offered.state, [70, answer], [600, { type: 'tick' }], [610, { ...nobody, primary: other }])
    t.strictSame(
      left.done,
      ['look', 'follow other'],
      `${answer.type}: the stream ended with the lease, so it follows anew`,
    )
  }
})

t.test('handing over, done and not done', async (t) => {
  const handing = play(primary.state, [2000, { type: 'handOver', nodeId: 'AB', standAfterMs: 500 }])
  t.strictSame([handing.state.kind, handing.done], ['handing', ['handOver']])
  const done = play(handing.state, [2100, { type: 'handedOver', outcome: 'taken' }])
  t.strictSame([done.state.kind, done.done], ['seeking', ['look']])
  t.strictSame(play(done.state, [2500, nobody]).done, [], 'it leaves the others time to stand')
  const kept = play(handing.state, [9000, { type: 'handedOver', outcome: 'kept' }])
  t.strictSame([kept.state.kind, kept.done], ['suspended', ['renew']])
  const sent = play(handing.state, [9000, { type: 'handedOver', outcome: 'sent' }])
  t.strictSame(
    [sent.state.kind, sent.done],
    ['seeking', ['follow nobody', 'release', 'look']],
    'the other one could take it at any time: this one has it no more',
  )
})

t.test('stepping down, and standing again later', async (t) => {
  const demoted = play(primary.state, [2000, { type: 'demote', standAfterMs: 3000 }])
  t.strictSame(demoted.done, ['follow nobody', 'release', 'look'])
  t.strictSame(play(demoted.state, [4900, nobody]).done, [])
  t.strictSame(play(demoted.state, [5000, nobody]).done, ['acquire'])
})

t.test('a store that fails each time for another reason floods no log', async (t) => {
  let state: RoleState = SEEKING
  const lines: string[] = []
  for (let n = 0; n < 200; n++) {
    const failed: RoleEvent = { type: 'storeFailed', reason: `garbage ${n}` }
    const step = play(state, [5000 * n, { type: 'tick' }], [5000 * n + 1, failed])
    state = step.state
    lines.push(...told(step))
  }
  t.ok(lines.length > 1 && lines.length < 10, `${lines.length} lines`)
  t.match(state, { why: /garbage 199/ }, 'the last reason is what is shown')
})

t.test('a lease that arrives after the end is given back', async (t) => {
  const { state, done } = play(SEEKING, [0, { type: 'stop' }], [1, { type: 'acquired', term, handed: false }])
  t.strictSame([state.kind, done], ['stopped', ['release']])
})

t.test('whatever happens, only the holder of a lease that lasts leads or moves the fence', async (t) => {
  const events: RoleEvent[] = [
    { type: 'tick' },
    nobody,
    { ...nobody, primary: other },
    { type: 'storeFailed', reason: 'down' },
    { type: 'refused' },
    { type: 'judged', fresher: undefined, renewedAtMs: 0 },
    { type: 'led' },
    { type: 'leadFailed', reason: 'disk' },
    { type: 'lost', reason: 'gone' },
    { type: 'renewFailed', reason: 'down' },
    { type: 'heard' },
    { type: 'unheard' },
    { type: 'offered', leaseId: 'x' },
    { type: 'handOver', nodeId: 'AB', standAfterMs: 0 },
    { type: 'handedOver', outcome: 'kept' },
    { type: 'handedOver', outcome: 'sent' },
    { type: 'handedOver', outcome: 'taken' },
    { type: 'demote', standAfterMs: 100 },
  ]
  let seed = 7
  const below = (limit: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * limit)
  }
  let state: RoleState = SEEKING
  let holdsUntilMs = 0
  let nowMs = 0
  const seen = new Set<string>()
  for (let i = 0; i < 200_000; i++) {
    nowMs += below(2000)
    let event = events[below(events.length)] ?? nobody
    const choice = below(10)
    const renewedAtMs = nowMs - below(300)
    if (choice === 0 && state.kind === 'seeking')
      event = { type: 'acquired', term: { ...term, renewedAtMs }, handed: below(2) === 0 }
    const couldRenew: boolean = state.kind === 'leading' || state.kind === 'suspended'
    if (choice === 1 && couldRenew) event = { type: 'renewed', renewedAtMs }
    if (event.type === 'acquired' || event.type === 'renewed') holdsUntilMs = renewedAtMs + TTL_MS
    // Nothing else tells of them.
    if ((event.type === 'lost' && !couldRenew) || (event.type === 'handedOver' && state.kind !== 'handing')) continue
    if (event.type === 'lost' || (event.type === 'handedOver' && event.outcome !== 'kept')) holdsUntilMs = 0
    const step = next(state, event, nowMs)
    for (const effect of step.effects) {
      const untilMs =
        effect.do === 'fence' ? effect.untilMs : effect.do === 'lead' ? effect.term.renewedAtMs + TTL_MS : 0
      if (untilMs > holdsUntilMs)
        t.fail(`step ${i}: ${effect.do} until ${untilMs}, and the lease lasts until ${holdsUntilMs}`)
      if (effect.do === 'release') holdsUntilMs = 0
    }
    state = step.state
    seen.add(state.kind)
  }
  t.strictSame([...seen].sort(), ['claiming', 'following', 'handing', 'leading', 'seeking', 'suspended'])
})
