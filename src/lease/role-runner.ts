import { setTimeout as delay } from 'node:timers/promises'
import { describeError, type Log } from '../log.js'
import { monotonicMs } from '../monotonic.js'
import { KnownPeers, type Peers } from './known-peers.js'
import type { Lease, Leaser, NodeInfo } from './leaser.js'
import { next, SEEKING } from './role.js'
import type { RoleParts } from './role-parts.js'
import type { HandoverOutcome, RoleEffect, RoleEvent, RoleState, Term } from './role-terms.js'
import { isTakenOver } from './taken-over.js'

/** By chance, a pause that is to be spread is longer by up to this part of it. */
const SPREAD = 0.5
/** Lines that a node logs of its role without ever leading, or hearing a primary. */
const MAX_TOLD = 100
/** How long the lease store may take to hear that a lease is given up, milliseconds. */
const RELEASE_MS = 5000

/** Has the role of a node follow the lease: does what `next` says, and tells it what came of that. */
export class RoleRunner {
  readonly #leaser: Leaser
  readonly #parts: RoleParts
  readonly #log: Log
  readonly #ending = new AbortController()
  readonly #peers: KnownPeers
  /** What was logged since this node last led, or heard a primary: the same again says nothing. */
  readonly #told = new Set<string>()
  #state: RoleState = SEEKING
  #lease: Lease | undefined
  /** What came of the last one. */
  #handover: HandoverOutcome | undefined
  #timer: NodeJS.Timeout | undefined
  /** Changes of role, one after the other. */
  #changing: Promise<unknown> = Promise.resolve()
  /** A lease that is being given up. */
  #releasing: Promise<void> = Promise.resolve()
  readonly #waiting = new Set<() => void>()

  constructor(leaser: Leaser, parts: RoleParts, log: Log) {
    this.#leaser = leaser
    this.#parts = parts
    this.#log = log
    this.#peers = new KnownPeers(() => parts.self.advertiseUrl)
  }

  get state(): RoleState {
    return this.#state
  }

  start(): void {
    this.tell({ type: 'tick' })
  }

  /** What has happened, wherever it was noticed. */
  tell(event: RoleEvent): void {
    if (event.type === 'led' || event.type === 'renewed' || event.type === 'heard') this.#told.clear()
    if (event.type === 'handedOver') this.#handover = event.outcome
    const step = next(this.#state, event, monotonicMs())
    const isOther = step.state !== this.#state
    this.#state = step.state
    for (const effect of step.effects) this.#do(effect)
    if (!isOther) return
    for (const look of [...this.#waiting]) look()
  }

  /** Whoever else is asked where he stands, should this node get the lease. */
  remember(nodes: readonly NodeInfo[]): void {
    this.#peers.remember(nodes)
  }

  /** Resolves to true once the state is such; to false after `timeoutMs` milliseconds. */
  async reached(isWanted: (state: RoleState) => boolean, timeoutMs: number): Promise<boolean> {
    if (isWanted(this.#state)) return true
    return await new Promise((resolve) => {
      const settle = (found: boolean) => {
        clearTimeout(timer)
        this.#waiting.delete(look)
        resolve(found)
      }
      const look = () => {
        if (isWanted(this.#state)) settle(true)
      }
      const timer = Number.isFinite(timeoutMs) ? setTimeout(() => settle(false), timeoutMs) : undefined
      this.#waiting.add(look)
    })
  }

  /**
   * Has this node, which leads, hand its lease to that one, not to stand again before `standAfterMs` milliseconds. Resolves to whether that one
   * has taken it, to false after `timeoutMs` too.
   */
  async handOver(nodeId: string, standAfterMs: number, timeoutMs: number): Promise<boolean> {
    this.#handover = undefined
    this.tell({ type: 'handOver', nodeId, standAfterMs })
    await this.reached(({ kind }) => kind !== 'handing', timeoutMs)
    return this.#handover === 'taken'
  }

  /** Resolves when the changes of role that were begun are done. */
  async quiet(): Promise<void> {
    await this.#changing
  }

  /** Has something done to the role when the changes that were begun are done, and before others. */
  async between<T>(work: () => Promise<T>): Promise<T> {
    return await this.#change(work)
  }

  /** Gives up the lease, if there is one, and asks for no other. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    const lease = this.#lease
    this.tell({ type: 'stop' })
    clearTimeout(this.#timer)
    this.#ending.abort()
    await this.#changing
    if (lease !== undefined) await this.#release(lease)
    await this.#releasing
  }

  #do(effect: RoleEffect): void {
    switch (effect.do) {
      case 'log':
        if (!this.#told.has(effect.message) && this.#told.size < MAX_TOLD) this.#log[effect.level](effect.message)
        this.#told.add(effect.message)
        return
      case 'wake':
        this.#wake(effect.inMs * (effect.spread ? 1 + SPREAD * Math.random() : 1))
        return
      case 'fence':
        this.#parts.fence(effect.untilMs)
        return
      case 'release':
        if (this.#lease !== undefined) this.#releasing = this.#release(this.#lease)
        return
      case 'follow':
        // At once, whatever else is under way.
        this.#parts.fence(0)
        this.#change(() => this.#parts.follow(effect.primary)).catch((error: Error) => {
          this.#log.error(`cannot become a replica: ${describeError(error)}`)
        })
        return
      default:
        this.#answer(effect)
    }
  }

  #answer(effect: Exclude<RoleEffect, { do: 'log' | 'wake' | 'fence' | 'release' | 'follow' }>): void {
    const failed = (type: 'storeFailed' | 'renewFailed' | 'leadFailed') => (error: unknown) => {
      if (!this.#ending.signal.aborted) this.tell({ type, reason: describeError(error) })
    }
    const tell = (event: RoleEvent | undefined) => {
      if (event !== undefined) this.tell(event)
    }
    if (effect.do === 'look') this.#look().then(tell, failed('storeFailed'))
    else if (effect.do === 'acquire') this.#acquire().then(tell, failed('storeFailed'))
    else if (effect.do === 'takeOver') this.#takeOver(effect.leaseId).then(tell, failed('storeFailed'))
    else if (effect.do === 'judge') this.#judge().then(tell, failed('leadFailed'))
    else if (effect.do === 'renew') this.#renew().then(tell, failed('renewFailed'))
    else if (effect.do === 'lead') this.#change(() => this.#lead(effect.term)).then(tell, failed('leadFailed'))
    else {
      this.#change(() => this.#handOver(effect.nodeId)).then(tell, (error: Error) => {
        this.#log.error(`cannot hand over the lease: ${describeError(error)}`)
        this.tell({ type: 'handedOver', outcome: 'sent' })
      })
    }
  }

  #wake(inMs: number): void {
    clearTimeout(this.#timer)
    if (Number.isFinite(inMs)) this.#timer = setTimeout(() => this.tell({ type: 'tick' }), inMs)
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#changing.then(work)
    this.#changing = done.catch(() => {})
    return done
  }

  async #look(): Promise<RoleEvent> {
    const { signal } = this.#ending
    const { self } = this.#parts
    await this.#releasing
    const primary = await this.#leaser.primary(signal)
    if (primary !== undefined && this.#leaser.name !== 'static') this.remember([primary])
    const foreign = await this.#foreign()
    const isSelf = primary?.advertiseUrl === self.advertiseUrl && this.#leaser.name !== 'static'
    const obstacle = primary === undefined ? await this.#obstacle() : undefined
    return { type: 'looked', primary, isSelf, obstacle, foreign }
  }

  /** Why the lease store is not this node's. */
  async #foreign(): Promise<string | undefined> {
    const theirs = await this.#leaser.clusterId(this.#ending.signal)
    const ours = this.#parts.clusterId()
    if (theirs === undefined || ours === undefined || theirs === ours) return undefined
    return `the lease store is that of cluster ${theirs}, and this node's data belongs to ${ours}; "litefs cluster-id show" says how to repair that`
  }

  async #obstacle(): Promise<string | undefined> {
    if (!this.#parts.isCandidate) return 'this node is no candidate, and no candidate has the lease'
    const isKnown = (await this.#leaser.clusterId(this.#ending.signal)) !== undefined
    const unfit = this.#parts.unfit()
    if (isKnown && this.#parts.clusterId() === undefined) return 'this node has nothing of the cluster yet'
    if (unfit === undefined) return await this.#parts.awaited()
    const [other] = (await this.#others()).announced
    return other === undefined
      ? await this.#parts.awaited()
      : `${unfit}, and another candidate is there (${other.hostname})`
  }

  async #others(): Promise<Peers> {
    return this.#peers.beside(await this.#leaser.candidates(this.#ending.signal))
  }

  async #acquire(): Promise<RoleEvent> {
    const { self, epoch } = this.#parts
    const lease = await this.#leaser.acquire(self, epoch.highest, this.#ending.signal)
    return this.#taken(lease, false)
  }

  async #takeOver(leaseId: string): Promise<RoleEvent> {
    const { self, epoch } = this.#parts
    const lease = await this.#leaser.takeOver(leaseId, self, epoch.highest, this.#ending.signal)
    return this.#taken(lease, true)
  }

  #taken(lease: Lease | undefined, handed: boolean): RoleEvent {
    if (lease === undefined) return { type: 'refused' }
    this.#lease = lease
    return { type: 'acquired', term: termOf(lease), handed }
  }

  async #judge(): Promise<RoleEvent> {
    const lease = this.#lease
    if (lease === undefined) return { type: 'lost', reason: 'the lease is gone' }
    if (!(await this.#isSole(lease))) return { type: 'leadFailed', reason: 'the lease was lost again' }
    const fresher = await this.#parts.judge(termOf(lease), await this.#others(), lease)
    return { type: 'judged', fresher, renewedAtMs: lease.renewedAtMs }
  }

  /** Waits until no lease can be in force that the store has forgotten. False where this one is lost meanwhile. */
  async #isSole(lease: Lease): Promise<boolean> {
    const { signal } = this.#ending
    const restMs = () => lease.soleFromMs - monotonicMs()
    if (restMs() > 0)
      this.#log.warn(
        'the lease store has lost its data: this node waits until a lease of before can not be in force any more',
      )
    while (restMs() > 0) {
      await delay(Math.min(lease.ttlMs / 3, restMs()), undefined, { signal })
      if (!(await lease.renew(signal))) return false
    }
    return true
  }

  /** Undefined where the lease was given up meanwhile: there may be another one by now. */
  async #renew(): Promise<RoleEvent | undefined> {
    const lease = this.#lease
    const isOurs = lease !== undefined && (await lease.renew(this.#ending.signal))
    if (lease !== this.#lease) return undefined
    if (isOurs) return { type: 'renewed', renewedAtMs: lease.renewedAtMs }
    this.#lease = undefined
    return { type: 'lost', reason: 'the lease has run out, or another node has it' }
  }

  /** The cluster's id is in the lease store before anybody can commit. */
  async #lead(term: Term): Promise<RoleEvent> {
    const clusterId = this.#parts.foundCluster()
    const { signal } = this.#ending
    if (this.#leaser.name !== 'static') {
      const theirs = await this.#leaser.clusterId(signal)
      const isSet = theirs === clusterId || (await this.#leaser.swapClusterId(undefined, clusterId, signal))
      if (!isSet) throw new Error(`Cannot lead cluster ${clusterId}: the lease store is that of another, ${theirs}`)
    }
    this.#parts.epoch.remember(term.epoch)
    await this.#parts.prepare()
    // The lease may have been renewed meanwhile, or lost.
    const state = this.#state
    if (state.kind !== 'leading') return { type: 'led' }
    this.#parts.fence(state.term.renewedAtMs + state.term.ttlMs)
    await this.#parts.lead(state.term)
    this.#log.info(`primary lease acquired, advertising as ${this.#parts.self.advertiseUrl}`, {
      epoch: state.term.epoch,
    })
    return { type: 'led' }
  }

  async #handOver(nodeId: string): Promise<RoleEvent> {
    const lease = this.#lease
    if (lease === undefined) return { type: 'handedOver', outcome: 'kept' }
    const isSent = await this.#parts.handOver(nodeId, lease, () => this.#isOurs(lease))
    if (!isSent) return { type: 'handedOver', outcome: 'kept' }
    if (!(await isTakenOver(this.#leaser, this.#parts.self.advertiseUrl, this.#ending.signal)))
      return { type: 'handedOver', outcome: 'sent' }
    this.#lease = undefined
    return { type: 'handedOver', outcome: 'taken' }
  }

  async #isOurs(lease: Lease): Promise<boolean> {
    try {
      return await lease.renew(this.#ending.signal)
    } catch (error) {
      this.#log.warn(`cannot hand over the lease, which has to be renewed first: ${describeError(error)}`)
      return false
    }
  }

  /** Where it fails the lease runs out by itself. */
  async #release(lease: Lease): Promise<void> {
    if (this.#lease === lease) this.#lease = undefined
    try {
      await this.#changing
      await lease.release(AbortSignal.timeout(RELEASE_MS))
    } catch (error) {
      this.#log.warn(`cannot give up the lease, it runs out by itself: ${describeError(error)}`)
    }
  }
}

function termOf({ epoch, renewedAtMs, ttlMs }: Lease): Term {
  return { epoch, renewedAtMs, ttlMs }
}
