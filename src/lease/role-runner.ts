import { setTimeout as delay } from 'node:timers/promises'
import { describeError, type Log } from '../log.js'
import { monotonicMs } from '../monotonic.js'
import { KnownPeers, type Peers } from './known-peers.js'
import type { Lease, Leaser, NodeInfo, PrimaryInfo } from './leaser.js'
import { next, SEEKING } from './role.js'
import type { RoleEffect, RoleEvent, RoleState, Term } from './role-terms.js'

/** What a role is to the rest of the node. */
export interface RoleParts {
  /** This node, as others find it. Its id is another one in each run. */
  readonly self: NodeInfo
  readonly isCandidate: boolean
  /** Of the cluster that this node's data belongs to. */
  clusterId(): string | undefined
  /** Founds a cluster, if this node is in none, and gives its id. Throws a system error. */
  foundCluster(): string
  /** Why this node's data must not become everybody's as long as another candidate is there; undefined when they may. */
  unfit(): string | undefined
  /** Why this node does not ask for the lease yet: others may be there soon, and further. Undefined where it may. Takes a stated time at most. */
  awaited(): Promise<string | undefined>
  /** The highest epoch that was ever heard of here, durable. */
  readonly epoch: { readonly highest: bigint; remember(epoch: bigint): void }
  /**
   * Asks other nodes how far they are, for a stated time at most. Resolves to why this node should not be primary now: one that is ahead, which
   * it names, or knows of a higher epoch than this one; undefined where it may be.
   */
  judge(term: Term, peers: Peers, lease: Lease): Promise<string | undefined>
  /** Commits may be acknowledged until this moment of `monotonicMs`. */
  fence(untilMs: number): void
  /** Before this node is the primary: apply what has arrived, and let go of the databases. */
  prepare(): Promise<void>
  /** Be the primary. Rejects when that cannot be. */
  lead(term: Term): Promise<void>
  /** Be a replica, of this primary where there is one; commit nothing from the call on. */
  follow(primary: PrimaryInfo | undefined): Promise<void>
  /**
   * Stop committing, send a node everything, and then the lease. Resolves to false where the node did not get it: this one commits nothing
   * all the same. `renew` makes sure of the lease before it goes.
   */
  handOver(nodeId: string, lease: Lease, renew: () => Promise<boolean>): Promise<boolean>
}

/** By chance, a pause that is to be spread is longer by up to this part of it. */
const SPREAD = 0.5
/** Lines that a node logs of its role without ever leading, or hearing a primary. */
const MAX_TOLD = 100
/** How long a node that was handed the lease may take to say so in the lease store, milliseconds. */
const TAKE_OVER_MS = 5000
const TAKE_OVER_LOOK_MS = 50

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
  #timer: NodeJS.Timeout | undefined
  /** Changes of role, one after the other. */
  #changing: Promise<unknown> = Promise.resolve()
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
        if (this.#lease !== undefined) void this.#release(this.#lease)
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
    const tell = (event: RoleEvent) => this.tell(event)
    if (effect.do === 'look') this.#look().then(tell, failed('storeFailed'))
    else if (effect.do === 'acquire') this.#acquire().then(tell, failed('storeFailed'))
    else if (effect.do === 'takeOver') this.#takeOver(effect.leaseId).then(tell, failed('storeFailed'))
    else if (effect.do === 'judge') this.#judge().then(tell, failed('leadFailed'))
    else if (effect.do === 'renew') this.#renew().then(tell, failed('renewFailed'))
    else if (effect.do === 'lead') this.#change(() => this.#lead(effect.term)).then(tell, failed('leadFailed'))
    else {
      this.#change(() => this.#handOver(effect.nodeId)).then(tell, (error: Error) => {
        this.#log.error(`cannot hand over the lease: ${describeError(error)}`)
        this.tell({ type: 'handedOver', isDone: false })
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

  async #renew(): Promise<RoleEvent> {
    const lease = this.#lease
    if (lease === undefined || !(await lease.renew(this.#ending.signal))) {
      this.#lease = undefined
      return { type: 'lost', reason: 'the lease has run out, or another node has it' }
    }
    return { type: 'renewed', renewedAtMs: lease.renewedAtMs }
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
    if (lease === undefined) return { type: 'handedOver', isDone: false }
    const { signal } = this.#ending
    const given = await this.#parts.handOver(nodeId, lease, () => lease.renew(signal))
    return { type: 'handedOver', isDone: given && (await this.#isTakenOver()) }
  }

  async #isTakenOver(): Promise<boolean> {
    const untilMs = monotonicMs() + TAKE_OVER_MS
    while (monotonicMs() < untilMs) {
      const primary = await this.#leaser.primary(this.#ending.signal)
      if (primary !== undefined && primary.advertiseUrl !== this.#parts.self.advertiseUrl) {
        this.#lease = undefined
        return true
      }
      await new Promise((resolve) => setTimeout(resolve, TAKE_OVER_LOOK_MS))
    }
    return false
  }

  /** Where it fails the lease runs out by itself. */
  async #release(lease: Lease): Promise<void> {
    if (this.#lease === lease) this.#lease = undefined
    try {
      await this.#changing
      await lease.release(AbortSignal.timeout(TAKE_OVER_MS))
    } catch (error) {
      this.#log.warn(`cannot give up the lease, it runs out by itself: ${describeError(error)}`)
    }
  }
}

function termOf({ epoch, renewedAtMs, ttlMs }: Lease): Term {
  return { epoch, renewedAtMs, ttlMs }
}
