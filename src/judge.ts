import type { PeerAccess } from './http/peer-access.js'
import { call, type PeerStanding, standingOf } from './http/peers.js'
import { compare, isAhead } from './lease/freshness.js'
import type { Peers } from './lease/known-peers.js'
import type { Lease, NodeInfo } from './lease/leaser.js'
import type { Term } from './lease/role-terms.js'
import { describeError, type Log } from './log.js'
import { isCredible } from './store/epoch.js'

export interface JudgeParts {
  /** Lead, however far others are (lease.allow-stale-promotion). */
  readonly allowStale: boolean
  readonly access: PeerAccess
  readonly epoch: { remember(epoch: bigint): void }
  readonly clusterId: () => string | undefined
  /** Where this node stands. */
  readonly positions: () => Promise<ReadonlyMap<string, { readonly txid: bigint; readonly checksum: bigint }>>
  readonly log: Log
}

/** How long all peers have to say where they stand, milliseconds. */
const JUDGE_MS = 2000
/** The same for those that the lease store does not name: most likely they are dead. */
const JUDGE_REMEMBERED_MS = 1000
/** How long one that is ahead may take to get the lease, milliseconds: nobody is primary meanwhile. */
const GIVE_MS = 5000
/** A node that says it is ahead, and was offered the lease so often without anybody becoming primary, is not asked again: it may lie. */
const MAX_OFFERS = 3

/** Finds out whether another candidate should have the lease that this node has won. */
export class Judge {
  readonly #parts: JudgeParts
  /** How often a node that said it was ahead was offered the lease, and nobody has been primary since. */
  readonly #offers = new Map<string, number>()

  constructor(parts: JudgeParts) {
    this.#parts = parts
  }

  /** There is a primary. */
  forgive(): void {
    this.#offers.clear()
  }

  /** Asks all at once. Resolves to why this node lets go of the lease, which one that is ahead then has, or not; undefined where it may lead. */
  async judge(term: Term, { announced, remembered }: Peers, lease: Lease): Promise<string | undefined> {
    const peers = [...announced, ...remembered]
    const { allowStale, access, epoch, clusterId, log } = this.#parts
    if (allowStale || peers.length === 0) return undefined
    const own = await this.#parts.positions()
    const ask = (timeoutMs: number) => (peer: NodeInfo) => standingOf(access, peer.advertiseUrl, timeoutMs)
    const asked = await Promise.allSettled([
      ...announced.map(ask(JUDGE_MS)),
      ...remembered.map(ask(JUDGE_REMEMBERED_MS)),
    ])
    let fresher: { peer: NodeInfo; ahead: bigint } | undefined
    for (const [i, answer] of asked.entries()) {
      const peer = peers[i]
      if (peer === undefined) continue
      if (answer.status === 'rejected') {
        if (announced.includes(peer))
          log.warn(`cannot find out where ${peer.hostname} stands, which may be ahead: ${describeError(answer.reason)}`)
        continue
      }
      const { value } = answer
      if (value.clusterId !== undefined && value.clusterId !== clusterId()) continue
      if (!isCredible(value.epoch, term.epoch)) {
        log.warn(`${peer.hostname} is not believed: the epoch that it names, ${value.epoch}, cannot be right`)
        continue
      }
      if (value.epoch > term.epoch) {
        epoch.remember(value.epoch)
        return `${peer.hostname} has heard of a later lease (epoch ${value.epoch}) than this one (${term.epoch})`
      }
      const comparison = compare(own, value.positions)
      if (comparison.apart.length > 0)
        log.warn(`${peer.hostname} and this node have gone apart in ${comparison.apart.join(', ')}: it will follow`)
      const better = isAhead(comparison) && this.#mayLead(peer, value, announced.includes(peer) ? MAX_OFFERS : 1)
      if (better && comparison.ahead > (fresher?.ahead ?? 0n)) fresher = { peer, ahead: comparison.ahead }
    }
    return fresher === undefined ? undefined : await this.#give(fresher.peer, fresher.ahead, lease)
  }

  #mayLead({ nodeId }: NodeInfo, { isCandidate, isSynced }: PeerStanding, maxOffers: number): boolean {
    return isCandidate && isSynced && (this.#offers.get(nodeId ?? '') ?? 0) < maxOffers
  }

  /** Resolves to why this node leaves the lease to that one, whether or not that has taken it: then it stands itself. */
  async #give({ hostname, advertiseUrl, nodeId = '' }: NodeInfo, ahead: bigint, lease: Lease): Promise<string> {
    const why = `${hostname} is ahead of this node by ${ahead} transactions`
    this.#offers.set(nodeId, (this.#offers.get(nodeId) ?? 0) + 1)
    try {
      await call(this.#parts.access, advertiseUrl, `/lease?id=${encodeURIComponent(lease.id)}`, GIVE_MS)
      return why
    } catch (error) {
      return `${why}, and has not taken the lease: ${describeError(error)}`
    }
  }
}
