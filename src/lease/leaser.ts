/** Who a node is to those that read the lease store. */
export interface NodeInfo {
  /** `lease.hostname`. */
  readonly hostname: string
  /** Where its API is. */
  readonly advertiseUrl: string
  /** 16 upper-case hex digits; undefined where LiteFS wrote the entry, which does not say. */
  readonly nodeId: string | undefined
  /** Where its proxy is, if it says so. */
  readonly proxyUrl?: string | undefined
}

/** Who is primary, as it is published with the lease. */
export interface PrimaryInfo extends NodeInfo {
  /** Of the lease; undefined where LiteFS holds it, which counts none. */
  readonly epoch: bigint | undefined
}

/**
 * A lease store: Consul, etcd, or the configuration file. Every call ends within a few seconds (`changed` after the time it is given), or
 * rejects with an error that names the store and what to do: then nothing is known, not even whether the call took effect.
 * An aborted signal makes them reject too.
 */
export interface Leaser {
  /** For logs. */
  readonly name: 'consul' | 'etcd' | 'static'
  /** Of the leases that `acquire` gives. */
  readonly ttlMs: number
  /**
   * Takes the lease if nobody has it. Undefined where somebody has, or had a moment ago (Consul's lock-delay).
   *
   * @param above the highest epoch this node has heard of: the lease's is higher, even if the store has lost its data
   */
  acquire(info: NodeInfo, above: bigint, signal: AbortSignal): Promise<Lease | undefined>
  /** Takes a lease that its holder hands to this node, by its id, under a new epoch. Undefined where that lease has ended. */
  takeOver(leaseId: string, info: NodeInfo, above: bigint, signal: AbortSignal): Promise<Lease | undefined>
  /** Who has the lease. */
  primary(signal: AbortSignal): Promise<PrimaryInfo | undefined>
  /** Who has the lease, as soon as that is another than `seen` (another node or epoch), at the latest after `waitMs`. */
  changed(seen: PrimaryInfo | undefined, waitMs: number, signal: AbortSignal): Promise<PrimaryInfo | undefined>
  /** The id of the cluster that shares this lease; undefined while it has none. */
  clusterId(signal: AbortSignal): Promise<string | undefined>
  /** Writes another cluster id if the store still has `from`, in one step; false if it has another by now. Undefined is none. */
  swapClusterId(from: string | undefined, to: string | undefined, signal: AbortSignal): Promise<boolean>
  /** Publishes a candidate to its peers, for as long as it renews that. */
  announce(info: NodeInfo, signal: AbortSignal): Promise<Announcement>
  /** The candidates that are announced, this node among them. LiteFS' nodes announce nothing. */
  candidates(signal: AbortSignal): Promise<readonly NodeInfo[]>
  /** Closes connections. Leases stay as they are. */
  close(): Promise<void>
}

/** The right to be primary, until it has not been renewed for `ttlMs`. */
export interface Lease {
  /** What `takeOver` takes. */
  readonly id: string
  /** Higher than that of every lease before it in this cluster. */
  readonly epoch: bigint
  readonly ttlMs: number
  /**
   * On the clock of `monotonicMs`: when the last renewal that succeeded, or the acquisition, was begun. It counts from there: at
   * `renewedAtMs + ttlMs` another node may have it.
   */
  readonly renewedAtMs: number
  /**
   * On the clock of `monotonicMs`: before that an earlier lease can be in force of which the store knows nothing, because it has lost its data.
   * 0 where it knows all.
   */
  readonly soleFromMs: number
  /** False: it is lost, for certain, or another node has taken it over. Rejects when nobody knows. */
  renew(signal: AbortSignal): Promise<boolean>
  /** Gives it up, so that another node can have it at once. Does nothing to a lease that was taken over. */
  release(signal: AbortSignal): Promise<void>
}

/** That a candidate is there. */
export interface Announcement {
  /** Without a renewal it vanishes some time after so many milliseconds. */
  readonly ttlMs: number
  /** False: it has vanished, so announce anew. */
  renew(signal: AbortSignal): Promise<boolean>
  withdraw(signal: AbortSignal): Promise<void>
}
