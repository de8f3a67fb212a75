import type { Peers } from './known-peers.js'
import type { Lease, NodeInfo, PrimaryInfo } from './leaser.js'
import type { Term } from './role-terms.js'

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
   * Stop committing, send a node everything, and then the lease. Resolves to false where that was not sent, for certain: this one commits
   * nothing all the same. `renew` makes sure of the lease before it goes.
   */
  handOver(nodeId: string, lease: Lease, renew: () => Promise<boolean>): Promise<boolean>
}
