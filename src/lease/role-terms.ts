import type { PrimaryInfo } from './leaser.js'

/** A lease that this node has, as far as its role depends on it. Milliseconds of `monotonicMs`. */
export interface Term {
  readonly epoch: bigint
  readonly renewedAtMs: number
  readonly ttlMs: number
}

/** What a node is in its cluster, and what it waits for. `asking`: an answer of the lease store is out. */
export type RoleState =
  /** Knows no primary. It stands for primary itself, not before `standAtMs`. */
  | {
      readonly kind: 'seeking'
      readonly asking: boolean
      /** Why there is no primary, as it was told. */
      readonly why: string
      readonly failures: number
      readonly standAtMs: number
    }
  /** `heard`: the primary's stream is open. While it is not, the lease store is asked whether there is another one. */
  | {
      readonly kind: 'following'
      readonly primary: PrimaryInfo
      readonly heard: boolean
      readonly asking: boolean
      readonly failures: number
    }
  /** Has the lease, and finds out whether another candidate is further. */
  | { readonly kind: 'claiming'; readonly term: Term }
  | { readonly kind: 'leading'; readonly term: Term; readonly asking: boolean; readonly failures: number }
  /** Was the primary until the lease could have run out, and does not know whether it has. */
  | { readonly kind: 'suspended'; readonly term: Term; readonly asking: boolean }
  /** Hands the lease to another node: commits nothing any more. `standAfterMs`: as for `demote`. */
  | { readonly kind: 'handing'; readonly term: Term; readonly standAfterMs: number }
  | { readonly kind: 'stopped' }

/**
 * `taken`: the other node has the lease. `kept`: its id has not left this node. `sent`: it has, and nobody has said that it has the lease, which may
 * still be taken at any time.
 */
export type HandoverOutcome = 'taken' | 'kept' | 'sent'

export type RoleEvent =
  /** The lease store has answered. `obstacle`: why this node must not be primary; `foreign`: why it must not follow either. */
  | {
      readonly type: 'looked'
      readonly primary: PrimaryInfo | undefined
      readonly isSelf: boolean
      readonly obstacle: string | undefined
      readonly foreign: string | undefined
    }
  /** It has not, or not on a lease that this node wanted to have. */
  | { readonly type: 'storeFailed'; readonly reason: string }
  /** `handed`: by the primary, who has sent this node everything. */
  | { readonly type: 'acquired'; readonly term: Term; readonly handed: boolean }
  /** Somebody else has the lease. */
  | { readonly type: 'refused' }
  /** `fresher`: a candidate that is ahead of this node now has the lease, or this lease's epoch is not the highest. */
  | { readonly type: 'judged'; readonly fresher: string | undefined; readonly renewedAtMs: number }
  | { readonly type: 'led' }
  | { readonly type: 'leadFailed'; readonly reason: string }
  | { readonly type: 'renewed'; readonly renewedAtMs: number }
  | { readonly type: 'lost'; readonly reason: string }
  | { readonly type: 'renewFailed'; readonly reason: string }
  | { readonly type: 'heard' }
  | { readonly type: 'unheard' }
  /** The primary hands its lease to this node. */
  | { readonly type: 'offered'; readonly leaseId: string }
  /** Somebody wants this node to hand its lease to that one; not to stand again before `standAfterMs` milliseconds. */
  | { readonly type: 'handOver'; readonly nodeId: string; readonly standAfterMs: number }
  | { readonly type: 'handedOver'; readonly outcome: HandoverOutcome }
  /** Somebody wants this node to step down. */
  | { readonly type: 'demote'; readonly standAfterMs: number }
  | { readonly type: 'tick' }
  | { readonly type: 'stop' }

/** What is to be done, in this order. All but `wake`, `fence` and `log` is answered by an event, except `follow` and `release`. */
export type RoleEffect =
  | { readonly do: 'look' }
  | { readonly do: 'acquire' }
  | { readonly do: 'takeOver'; readonly leaseId: string }
  | { readonly do: 'judge' }
  | { readonly do: 'lead'; readonly term: Term }
  | { readonly do: 'renew' }
  | { readonly do: 'release' }
  | { readonly do: 'handOver'; readonly nodeId: string }
  /** Commits are acknowledged until then. */
  | { readonly do: 'fence'; readonly untilMs: number }
  /** Be a replica, of this primary if there is one. */
  | { readonly do: 'follow'; readonly primary: PrimaryInfo | undefined }
  /** A `tick`, in place of the one that was asked for before. `spread`: later by chance, so that nodes do not act in step. */
  | { readonly do: 'wake'; readonly inMs: number; readonly spread: boolean }
  | { readonly do: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly message: string }

export interface RoleStep {
  readonly state: RoleState
  readonly effects: readonly RoleEffect[]
}
