import type { PrimaryInfo } from './leaser.js'
import type { RoleEffect, RoleEvent, RoleState, RoleStep, Term } from './role-terms.js'

/** Pause between two looks at a lease store that answers, and between two attempts to renew, milliseconds. */
const LOOK_MS = 500
const RENEW_RETRY_MS = 1000
/** A lease store that does not answer is asked ever more rarely, up to this pause, milliseconds. */
const LONGEST_PAUSE_MS = 4000

type In<Kind extends RoleState['kind']> = Extract<RoleState, { kind: Kind }>

export const SEEKING: In<'seeking'> = { kind: 'seeking', asking: false, why: '', failures: 0, standAtMs: 0 }

/** What comes of an event at the moment `nowMs` of `monotonicMs`. An event that does not fit the state changes nothing. */
export function next(state: RoleState, event: RoleEvent, nowMs: number): RoleStep {
  if (event.type === 'stop') return { state: { kind: 'stopped' }, effects: [] }
  switch (state.kind) {
    case 'seeking':
      return seeking(state, event, nowMs)
    case 'following':
      return following(state, event, nowMs)
    case 'claiming':
      return claiming(state, event, nowMs)
    case 'leading':
      return leading(state, event, nowMs)
    case 'suspended':
      return suspended(state, event, nowMs)
    case 'handing':
      return handing(state, event, nowMs)
    case 'stopped':
      // An answer that came too late.
      return { state, effects: event.type === 'acquired' ? [{ do: 'release' }] : [] }
  }
}

function seeking(state: In<'seeking'>, event: RoleEvent, nowMs: number): RoleStep {
  switch (event.type) {
    case 'tick':
      return state.asking ? stay(state) : { state: { ...state, asking: true }, effects: [{ do: 'look' }] }
    case 'looked':
      return looked({ ...state, asking: false, failures: 0 }, event, nowMs)
    case 'storeFailed': {
      const failures = state.failures + 1
      return without(
        { ...state, asking: false, failures },
        `the lease store does not answer: ${event.reason}`,
        failures,
      )
    }
    case 'refused':
      return without({ ...state, asking: false }, 'another node has the lease, or had it a moment ago', 0)
    case 'acquired':
      return won(event, nowMs)
    case 'offered':
      return { state: { ...state, asking: true }, effects: [{ do: 'takeOver', leaseId: event.leaseId }] }
    default:
      return stay(state)
  }
}

function looked(state: In<'seeking'>, event: Extract<RoleEvent, { type: 'looked' }>, nowMs: number): RoleStep {
  const { primary, isSelf, obstacle, foreign } = event
  if (foreign !== undefined) return without(state, foreign, 0, 'error')
  if (isSelf) return without(state, 'the lease is that of an earlier run of this node, and has to run out', 0)
  if (primary !== undefined) return found(primary)
  if (obstacle !== undefined) return without(state, obstacle, 0)
  if (nowMs < state.standAtMs) return without(state, 'this node has stepped down and stands again later', 0)
  return { state: { ...state, asking: true }, effects: [{ do: 'acquire' }] }
}

function following(state: In<'following'>, event: RoleEvent, nowMs: number): RoleStep {
  switch (event.type) {
    case 'heard':
      return stay({ ...state, heard: true, failures: 0 })
    case 'unheard':
      return { state: { ...state, heard: false }, effects: state.asking ? [] : [wake(LOOK_MS / 2)] }
    case 'tick':
      if (state.asking || state.heard) return stay(state)
      return { state: { ...state, asking: true }, effects: [{ do: 'look' }] }
    case 'looked':
      return lookedAgain({ ...state, asking: false, failures: 0 }, event, nowMs)
    case 'storeFailed': {
      const failures = state.failures + 1
      const message = `cannot ask the lease store for another primary, trying again: ${event.reason}`
      const effects: RoleEffect[] = failures === 1 ? [{ do: 'log', level: 'warn', message }] : []
      return { state: { ...state, asking: false, failures }, effects: [...effects, wake(pauseMs(failures))] }
    }
    case 'offered':
      // With its lease the primary has ended its stream: should this node not get that, it looks whom to follow.
      return { state: { ...SEEKING, asking: true }, effects: [{ do: 'takeOver', leaseId: event.leaseId }] }
    default:
      return stay(state)
  }
}

function lookedAgain(state: In<'following'>, event: Extract<RoleEvent, { type: 'looked' }>, nowMs: number): RoleStep {
  const { primary, isSelf, foreign } = event
  if (state.heard) return stay(state)
  if (primary !== undefined && !isSelf && foreign === undefined) {
    if (isSame(primary, state.primary)) return { state, effects: [wake(LOOK_MS)] }
    return found(primary)
  }
  const step = looked(SEEKING, event, nowMs)
  return { ...step, effects: [{ do: 'follow', primary: undefined }, ...step.effects] }
}

function won({ term, handed }: Extract<RoleEvent, { type: 'acquired' }>, nowMs: number): RoleStep {
  if (!handed) return { state: { kind: 'claiming', term }, effects: [{ do: 'judge' }] }
  return leads(term, nowMs)
}

function leads(term: Term, nowMs: number): RoleStep {
  return { state: lead(term), effects: [{ do: 'lead', term }, wakeToRenew(term, nowMs)] }
}

function claiming(state: In<'claiming'>, event: RoleEvent, nowMs: number): RoleStep {
  const { term } = state
  if (event.type === 'judged' && event.fresher === undefined)
    return leads({ ...term, renewedAtMs: event.renewedAtMs }, nowMs)
  if (event.type === 'leadFailed')
    return sought(nowMs + LOOK_MS, `cannot be the primary: ${event.reason}`, [{ do: 'release' }])
  if (event.type !== 'judged') return stay(state)
  return sought(nowMs + LOOK_MS, `leaves the lease to another: ${event.fresher}`, [{ do: 'release' }])
}

function leading(state: In<'leading'>, event: RoleEvent, nowMs: number): RoleStep {
  const { term } = state
  const endMs = term.renewedAtMs + term.ttlMs
  switch (event.type) {
    case 'leadFailed':
      return steppedDown(`cannot be the primary: ${event.reason}`, nowMs, [{ do: 'release' }])
    case 'tick':
      if (nowMs >= endMs) return suspend(state)
      if (state.asking) return { state, effects: [{ do: 'wake', inMs: endMs - nowMs, spread: false }] }
      return {
        state: { ...state, asking: true },
        effects: [{ do: 'renew' }, { do: 'wake', inMs: endMs - nowMs, spread: false }],
      }
    case 'renewed':
      return renewed({ ...term, renewedAtMs: event.renewedAtMs }, state.failures, nowMs)
    case 'renewFailed': {
      const failures = state.failures + 1
      const message = `cannot renew the lease, trying again: ${event.reason}`
      const effects: RoleEffect[] = failures === 1 ? [{ do: 'log', level: 'warn', message }] : []
      const inMs = Math.max(0, Math.min(RENEW_RETRY_MS, endMs - nowMs))
      return {
        state: { ...state, asking: false, failures },
        effects: [...effects, { do: 'wake', inMs, spread: false }],
      }
    }
    case 'lost':
      return steppedDown(`is not the primary any more: ${event.reason}`, nowMs, [])
    case 'handOver': {
      const { nodeId, standAfterMs } = event
      return { state: { kind: 'handing', term, standAfterMs }, effects: [{ do: 'handOver', nodeId }] }
    }
    case 'demote':
      return steppedDown('steps down, as it was asked to', nowMs, [{ do: 'release' }], event.standAfterMs)
    default:
      return stay(state)
  }
}

function renewed(term: Term, failures: number, nowMs: number): RoleStep {
  const fence: RoleEffect = { do: 'fence', untilMs: term.renewedAtMs + term.ttlMs }
  const again: RoleEffect[] =
    failures === 0 ? [] : [{ do: 'log', level: 'info', message: 'the lease is renewed again' }]
  return { state: lead(term), effects: [fence, ...again, wakeToRenew(term, nowMs)] }
}

/** It may still have the lease, and if so is the primary again. */
function suspend({ term, asking }: In<'leading'>): RoleStep {
  const message =
    'the lease could not be renewed in time: this node is the primary no more until it knows that it still has it'
  const effects: RoleEffect[] = [
    { do: 'follow', primary: undefined },
    { do: 'log', level: 'error', message },
  ]
  return { state: { kind: 'suspended', term, asking }, effects: [...effects, wake(RENEW_RETRY_MS)] }
}

function suspended(state: In<'suspended'>, event: RoleEvent, nowMs: number): RoleStep {
  const { term } = state
  switch (event.type) {
    case 'tick':
      return state.asking ? stay(state) : { state: { ...state, asking: true }, effects: [{ do: 'renew' }] }
    case 'renewed': {
      const held = { ...term, renewedAtMs: event.renewedAtMs }
      // An answer that was on its way for as long as the lease lasts.
      if (nowMs >= held.renewedAtMs + held.ttlMs)
        return { state: { ...state, asking: false }, effects: [wake(LOOK_MS)] }
      return leads(held, nowMs)
    }
    case 'renewFailed':
      return { state: { ...state, asking: false }, effects: [wake(RENEW_RETRY_MS)] }
    case 'lost':
      return sought(0, event.reason, [])
    case 'demote':
      return sought(nowMs + event.standAfterMs, 'steps down, as it was asked to', [{ do: 'release' }])
    default:
      return stay(state)
  }
}

function handing(state: In<'handing'>, event: RoleEvent, nowMs: number): RoleStep {
  const { term, standAfterMs } = state
  if (event.type !== 'handedOver') return stay(state)
  if (event.outcome === 'taken') return sought(nowMs + standAfterMs, 'the lease is handed over', [])
  if (event.outcome === 'kept') return { state: { kind: 'suspended', term, asking: true }, effects: [{ do: 'renew' }] }
  const why = 'the lease was sent to another node, which has not taken it: nobody has it any more'
  return steppedDown(why, nowMs, [{ do: 'release' }], standAfterMs)
}

function found(primary: PrimaryInfo): RoleStep {
  const { hostname, advertiseUrl } = primary
  const message = `existing primary found (${hostname}), connecting as replica to "${advertiseUrl}"`
  return {
    state: { kind: 'following', primary, heard: false, asking: false, failures: 0 },
    effects: [{ do: 'log', level: 'info', message }, { do: 'follow', primary }, wake(2 * LOOK_MS)],
  }
}

/** There is no primary; `why` is told once. A store that fails each time for another reason is told of ever more rarely. */
function without(state: In<'seeking'>, why: string, failures: number, level: 'warn' | 'error' = 'warn'): RoleStep {
  const isTold = why !== state.why && (failures & (failures - 1)) === 0
  const told: RoleEffect[] = isTold ? [{ do: 'log', level, message: `no primary: ${why}` }] : []
  return { state: { ...state, why }, effects: [...told, wake(pauseMs(failures))] }
}

function sought(standAtMs: number, why: string, effects: readonly RoleEffect[]): RoleStep {
  const log: RoleEffect = { do: 'log', level: 'info', message: why }
  return { state: { ...SEEKING, standAtMs, why, asking: true }, effects: [...effects, log, { do: 'look' }] }
}

function steppedDown(why: string, nowMs: number, effects: readonly RoleEffect[], standAfterMs = LOOK_MS): RoleStep {
  return sought(nowMs + standAfterMs, why, [{ do: 'follow', primary: undefined }, ...effects])
}

function lead(term: Term): In<'leading'> {
  return { kind: 'leading', term, asking: false, failures: 0 }
}

function wakeToRenew({ renewedAtMs, ttlMs }: Term, nowMs: number): RoleEffect {
  return { do: 'wake', inMs: Math.max(0, renewedAtMs + ttlMs / 2 - nowMs), spread: false }
}

function wake(inMs: number): RoleEffect {
  return { do: 'wake', inMs, spread: true }
}

function pauseMs(failures: number): number {
  return Math.min(LONGEST_PAUSE_MS, LOOK_MS * 2 ** failures)
}

function stay(state: RoleState): RoleStep {
  return { state, effects: [] }
}

function isSame(a: PrimaryInfo, b: PrimaryInfo): boolean {
  return a.advertiseUrl === b.advertiseUrl && a.nodeId === b.nodeId && a.epoch === b.epoch
}
