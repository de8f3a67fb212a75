import { ExpectedPeers } from './expected-peers.js'
import { RequestError } from './http/answers.js'
import type { PrimaryView, Role, RoleControl, Serving, Standing } from './http/node-view.js'
import type { PeerAccess } from './http/peer-access.js'
import { call } from './http/peers.js'
import { Judge } from './judge.js'
import { Announcer } from './lease/announcer.js'
import type { Peers } from './lease/known-peers.js'
import type { Lease, Leaser, NodeInfo, PrimaryInfo } from './lease/leaser.js'
import type { RoleParts } from './lease/role-parts.js'
import { RoleRunner } from './lease/role-runner.js'
import type { RoleState, Term } from './lease/role-terms.js'
import { describeError, type Log } from './log.js'
import type { ConnectedReplicas } from './replication/connected-replicas.js'
import type { SwitchedNode } from './role-switch.js'
import type { Epoch } from './store/epoch.js'
import type { Identity } from './store/identity.js'
import type { PeerFile } from './store/peer-file.js'
import { awaitSuccessor, freshest, nameOf } from './successor.js'

export interface NodeRolesOptions {
  readonly self: NodeInfo
  readonly isCandidate: boolean
  /** Milliseconds; see lease.demote-delay. */
  readonly demoteDelayMs: number
  /** Win the lease and lead, however far others are. */
  readonly allowStale: boolean
  /** Ask to be the primary once this node has everything (lease.promote). */
  readonly promote: boolean
  readonly identity: Identity
  readonly epoch: Epoch
  /** Other candidates that an earlier run of this node has known. */
  readonly peers: PeerFile
  readonly replicas: ConnectedReplicas
  readonly access: PeerAccess
}

/** How long a node may take to become primary that is to, or to step down, milliseconds. */
const CHANGE_MS = 15_000
/** The role of this node: what the lease says, done by the switch, and what people and other nodes ask of it. */
export class NodeRoles implements RoleParts, RoleControl {
  self: NodeInfo
  readonly isCandidate: boolean
  readonly epoch: Epoch
  /** Resolves when this node is the primary, or once had everything that its primary had. */
  readonly synced: Promise<void>
  readonly #options: NodeRolesOptions
  readonly #switch: SwitchedNode
  readonly runner: RoleRunner
  #announcer: Announcer | undefined
  #onSynced = () => {}
  readonly #leaser: Leaser
  readonly #log: Log
  readonly #listeners = new Set<() => void>()
  readonly #judge: Judge
  #expected: ExpectedPeers | undefined
  #told = ''
  #hasSynced = false
  /** The other candidates cannot be written down, as was told. */
  #isUnwritten = false

  constructor(leaser: Leaser, roleSwitch: SwitchedNode, options: NodeRolesOptions, log: Log) {
    this.self = options.self
    this.isCandidate = options.isCandidate
    this.epoch = options.epoch
    this.#options = options
    this.#switch = roleSwitch
    this.#leaser = leaser
    this.#log = log
    this.runner = new RoleRunner(leaser, this, log)
    const { allowStale, access, epoch, identity } = options
    const positions = () => roleSwitch.replica.positions()
    this.#judge = new Judge({ allowStale, access, epoch, clusterId: () => identity.clusterId, positions, log })
    this.synced = new Promise((resolve) => {
      this.#onSynced = resolve
    })
  }

  /** `advertiseUrl` is where others reach this node, which serves them already. */
  start(advertiseUrl: string): void {
    this.self = { ...this.self, advertiseUrl }
    if (this.isCandidate) {
      if (this.#leaser.name !== 'static') this.#expectPeers()
      this.#announcer = new Announcer(this.#leaser, this.self, (nodes) => this.#remember(nodes), this.#log)
      this.#announcer.start()
    }
    this.runner.start()
  }

  /** Resolves once this node is primary, or follows one. */
  async settled(): Promise<void> {
    const isSettled = ({ kind }: RoleState) => kind === 'leading' || kind === 'following' || kind === 'stopped'
    await this.runner.reached(isSettled, Number.POSITIVE_INFINITY)
    await this.runner.quiet()
  }

  /** Hands over to the replica that is furthest, if this node is primary, and asks for the lease no more. */
  async stop(): Promise<void> {
    // To break that off could leave the others without what this node has.
    await this.runner.reached(({ kind }) => kind !== 'handing', CHANGE_MS)
    if (this.#leaser.name !== 'static' && this.runner.state.kind === 'leading') {
      const positions = () => this.#switch.replica.positions()
      const { replicas } = this.#options
      const { nodeId } = this.self
      const target = await awaitSuccessor({ replicas, leaser: this.#leaser, nodeId, positions, log: this.#log })
      if (target === undefined) await this.runner.between(() => this.#switch.finish())
      else {
        this.#log.info(`hands over to ${nameOf(target)} before it ends`)
        if (!(await this.#handTo(target.nodeId, Number.POSITIVE_INFINITY)))
          this.#log.warn(
            `${nameOf(target)} has not taken the lease: the next primary may lack transactions of this node`,
          )
      }
    }
    await this.#announcer?.stop()
    await this.runner.stop()
    await this.#switch.close()
    await this.#leaser.close()
  }

  #expectPeers(): void {
    const { access, peers } = this.#options
    const known = peers.known(Date.now()).filter(({ advertiseUrl }) => advertiseUrl !== this.self.advertiseUrl)
    this.runner.remember(known)
    this.#expected = new ExpectedPeers(access, known, this.#leaser.ttlMs)
  }

  /** Whoever is away while this node leads can only be behind: it need not be waited for. */
  #remember(nodes: readonly NodeInfo[]): void {
    this.runner.remember(nodes)
    const { peers } = this.#options
    const others = nodes.filter(({ advertiseUrl }) => advertiseUrl !== this.self.advertiseUrl)
    try {
      if (this.runner.state.kind === 'leading') peers.replace(others, Date.now())
      else peers.remember(others, Date.now())
      this.#isUnwritten = false
    } catch (error) {
      if (!this.#isUnwritten) this.#log.warn(`cannot write down the other candidates: ${describeError(error)}`)
      this.#isUnwritten = true
    }
  }

  // What the switch and the followed stream tell of.

  heard(isHeard: boolean): void {
    this.runner.tell({ type: isHeard ? 'heard' : 'unheard' })
  }

  /** This node has everything that the primary had. */
  hasSynced(): void {
    this.#options.identity.synced()
    if (!this.#hasSynced && this.#options.promote && this.isCandidate) this.#promoteItself()
    this.#hasSynced = true
    this.#onSynced()
  }

  offered(leaseId: string): void {
    this.runner.tell({ type: 'offered', leaseId })
  }

  /** A replica has heard of a later lease: either this one is not in force any more, or the lease store has lost its data. */
  heardOf(epoch: bigint): void {
    this.epoch.remember(epoch)
    this.#log.warn(`a replica has heard of a later lease (epoch ${epoch}): this node asks for a new one`)
    this.runner.tell({ type: 'demote', standAfterMs: 0 })
  }

  // NodeView

  get serving(): Serving | undefined {
    return this.#switch.serving
  }

  get primary(): PrimaryView | undefined {
    return this.#switch.primary
  }

  role(): Role {
    const { serving, primary, lagMs } = this.#switch
    const isPrimary = serving !== undefined
    const primaryHostname = isPrimary ? this.self.hostname : primary?.hostname
    return { isPrimary, candidate: this.isCandidate, primaryHostname, lagMs }
  }

  /** Why the node cannot serve what its cluster has, or take writes. */
  get notReady(): string | undefined {
    const { state } = this.runner
    if (state.kind === 'seeking' && state.why !== '') return `there is no primary: ${state.why}`
    if (state.kind === 'suspended')
      return 'the lease could not be renewed: nobody knows whether this node is still the primary'
    return this.#switch.notReady
  }

  onPrimaryChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  // RoleControl

  async promote(): Promise<void> {
    const { state } = this.runner
    if (!this.isCandidate) throw new RequestError(409, 'Cannot promote this node: it is no candidate (lease.candidate)')
    if (state.kind === 'leading') return
    this.#refuseStatic()
    if (state.kind !== 'following')
      throw new RequestError(503, `Cannot promote this node: ${this.notReady ?? 'the role of this node is changing'}`)
    const { advertiseUrl } = state.primary
    try {
      await call(this.#options.access, advertiseUrl, `/handoff?nodeID=${this.self.nodeId}`, CHANGE_MS)
    } catch (error) {
      throw new RequestError(503, `Cannot promote this node: the primary does not hand over: ${describeError(error)}`)
    }
    await this.#untilLeading('promote this node')
  }

  async handOff(nodeId: string): Promise<void> {
    this.#refuseStatic()
    this.#refuseUnlessLeading('hand over')
    const target = this.#options.replicas.all.find((replica) => replica.nodeId === nodeId)
    if (target === undefined) throw new RequestError(404, `Cannot hand over: no replica ${nodeId} is connected`)
    this.#log.info(`hands over to ${nameOf(target)}, as it was asked to`)
    if (!(await this.#handTo(nodeId, 0)))
      throw new RequestError(503, `Cannot hand over: ${nameOf(target)} did not take the lease`)
  }

  async demote(): Promise<void> {
    this.#refuseStatic()
    this.#refuseUnlessLeading('step down')
    const { demoteDelayMs } = this.#options
    const target = freshest(this.#options.replicas)
    if (target !== undefined && (await this.#handTo(target.nodeId, demoteDelayMs))) return
    if (target === undefined) await this.runner.between(() => this.#switch.finish())
    this.runner.tell({ type: 'demote', standAfterMs: demoteDelayMs })
    await this.runner.quiet()
  }

  async takeLease(leaseId: string): Promise<void> {
    if (!this.isCandidate) throw new RequestError(409, 'Cannot take the lease: this node is no candidate')
    this.offered(leaseId)
    await this.#untilLeading('take the lease')
  }

  async standing(): Promise<Standing> {
    const { identity } = this.#options
    return {
      isSynced: identity.clusterId !== undefined && !identity.isUnsynced,
      epoch: this.epoch.highest,
      positions: await this.#switch.replica.positions(),
    }
  }

  // RoleParts

  clusterId(): string | undefined {
    return this.#options.identity.clusterId
  }

  foundCluster(): string {
    const { identity } = this.#options
    identity.found()
    const { clusterId } = identity
    if (clusterId === undefined) throw new Error('Cannot found a cluster: it has no id')
    return clusterId
  }

  unfit(): string | undefined {
    const { identity, allowStale } = this.#options
    return identity.isUnsynced && !allowStale ? "this node never had all of the cluster's data" : undefined
  }

  async awaited(): Promise<string | undefined> {
    return this.#options.allowStale || this.#hasSynced ? undefined : await this.#expected?.awaited()
  }

  async judge(term: Term, peers: Peers, lease: Lease): Promise<string | undefined> {
    return await this.#judge.judge(term, peers, lease)
  }

  fence(untilMs: number): void {
    this.#switch.fence(untilMs)
  }

  async prepare(): Promise<void> {
    await this.#switch.prepare()
  }

  async lead(term: Term): Promise<void> {
    await this.#switch.lead(term)
    this.#options.identity.synced()
    this.#hasSynced = true
    this.#onSynced()
    this.#tellChange()
  }

  async follow(primary: PrimaryInfo | undefined): Promise<void> {
    if (primary !== undefined) this.#judge.forgive()
    await this.#switch.follow(primary)
    this.#tellChange()
  }

  async handOver(nodeId: string, lease: Lease, renew: () => Promise<boolean>): Promise<boolean> {
    const target = this.#options.replicas.all.find((replica) => replica.nodeId === nodeId)
    if (target === undefined) return false
    const isDone = await this.#switch.handOver(target, lease.id, renew)
    this.#tellChange()
    return isDone
  }

  #promoteItself(): void {
    this.#log.info('node is a candidate, automatically promoting to primary')
    this.promote().catch((error: Error) => this.#log.warn(`cannot promote this node: ${describeError(error)}`))
  }

  async #handTo(nodeId: string, standAfterMs: number): Promise<boolean> {
    return await this.runner.handOver(nodeId, standAfterMs, CHANGE_MS)
  }

  async #untilLeading(what: string): Promise<void> {
    if (!(await this.runner.reached(({ kind }) => kind === 'leading', CHANGE_MS)))
      throw new RequestError(503, `Cannot ${what}: ${this.notReady ?? 'the lease did not arrive'}`)
    await this.runner.quiet()
  }

  #refuseStatic(): void {
    if (this.#leaser.name !== 'static') return
    throw new RequestError(409, 'Cannot change the primary: lease.type is "static", and litefs.yml says who it is')
  }

  #refuseUnlessLeading(what: string): void {
    if (this.runner.state.kind !== 'leading')
      throw new RequestError(503, `Cannot ${what}: this node is not the primary`)
  }

  #tellChange(): void {
    const { isPrimary, primaryHostname = '' } = this.role()
    const now = `${isPrimary} ${primaryHostname}`
    if (now === this.#told) return
    this.#told = now
    for (const listener of this.#listeners) listener()
  }
}
