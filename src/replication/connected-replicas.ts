import type { Position } from '../ltx/names.js'

/** What a replica says of itself; LiteFS' say no more than their node ids. */
export interface ReplicaFacts {
  /** IP address. */
  readonly address: string
  /** Empty where it is not told. */
  readonly hostname: string
  /** Empty where it is not told. */
  readonly advertiseUrl: string
  /** Whether it can be handed the lease. */
  readonly isCandidate: boolean
}

interface Handoff {
  readonly leaseId: string
  resolve(isSent: boolean): void
}

/** What one replica, whose stream is open, has been sent. */
export class ConnectedReplica {
  /** 16 upper-case hex digits. */
  readonly nodeId: string
  readonly facts: ReplicaFacts
  /** Since when, milliseconds since the epoch. */
  readonly connectedMs: number
  readonly #sent: Map<string, bigint>
  /** Where snapshots lead that are being sent. */
  readonly #snapshots = new Map<string, bigint>()
  #handoff: Handoff | undefined
  #onComplete: ((hasAll: boolean) => void) | undefined
  #isEnded = false
  /** Of the sender: there is something to do. */
  onAsked: () => void = () => {}

  constructor(
    { nodeId, ...facts }: { readonly nodeId: string } & ReplicaFacts,
    positions: ReadonlyMap<string, Position>,
  ) {
    this.nodeId = nodeId
    this.facts = facts
    this.connectedMs = Date.now()
    this.#sent = new Map(Array.from(positions, ([name, { txid }]) => [name, txid]))
  }

  /** The last TXID that was sent, by database. */
  get sent(): ReadonlyMap<string, bigint> {
    return this.#sent
  }

  /** A snapshot of a database at this TXID begins. */
  snapshot(name: string, txid: bigint): void {
    this.#snapshots.set(name, txid)
  }

  /** All of an LTX file has been sent. */
  complete(name: string, txid: bigint): void {
    this.#sent.set(name, txid)
    this.#snapshots.delete(name)
  }

  /** The database is no more, on either side. */
  forget(name: string): void {
    this.#sent.delete(name)
    this.#snapshots.delete(name)
  }

  /**
   * Has the lease sent to it, after everything there is; its stream ends with that. Resolves to false when the stream ends without, or when
   * it takes longer than `timeoutMs` milliseconds: then it is not sent any more. True says no more than that it was not kept back.
   */
  async handOver(leaseId: string, timeoutMs: number): Promise<boolean> {
    if (this.#isEnded) return false
    return await new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(false), timeoutMs)
      this.#handoff = {
        leaseId,
        resolve: (isSent) => {
          clearTimeout(timer)
          resolve(isSent)
        },
      }
      this.onAsked()
    })
  }

  /** The lease that it is to be sent. */
  get offeredLease(): string | undefined {
    return this.#handoff?.leaseId
  }

  /** The lease is sent: whatever comes of that, the replica may have it. */
  handedOver(): void {
    this.#settle(true)
  }

  /** Resolves to true once it has been sent everything there is; to false when its stream ends before, or after `timeoutMs` milliseconds. */
  async completed(timeoutMs: number): Promise<boolean> {
    if (this.#isEnded) return false
    return await new Promise((resolve) => {
      const settle = (hasAll: boolean) => {
        clearTimeout(timer)
        this.#onComplete = undefined
        resolve(hasAll)
      }
      const timer = setTimeout(() => settle(false), timeoutMs)
      this.#onComplete = settle
      this.onAsked()
    })
  }

  /** It has been sent everything there is. */
  hasAll(): void {
    this.#onComplete?.(true)
  }

  /** Its stream is closed. */
  ended(): void {
    this.#isEnded = true
    this.#onComplete?.(false)
    this.#settle(false)
  }

  #settle(isSent: boolean): void {
    this.#handoff?.resolve(isSent)
    this.#handoff = undefined
  }

  /** By database, the first TXID that it will need. */
  *needs(): Generator<[string, bigint]> {
    for (const [name, txid] of this.#sent) if (!this.#snapshots.has(name)) yield [name, txid + 1n]
    for (const [name, txid] of this.#snapshots) yield [name, txid + 1n]
  }
}

/** The replicas whose streams are open. */
export class ConnectedReplicas {
  readonly #replicas = new Set<ConnectedReplica>()
  readonly #listeners: (() => void)[] = []

  /** `listener` is told when one comes or goes. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  get all(): readonly ConnectedReplica[] {
    return [...this.#replicas]
  }

  add(replica: ConnectedReplica): void {
    this.#replicas.add(replica)
    this.#changed()
  }

  remove(replica: ConnectedReplica): void {
    this.#replicas.delete(replica)
    replica.ended()
    this.#changed()
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }

  /** By database, the first TXID that one of them needs. */
  needs(): Map<string, bigint> {
    const first = new Map<string, bigint>()
    for (const replica of this.#replicas) {
      for (const [name, txid] of replica.needs()) {
        const known = first.get(name)
        if (known === undefined || txid < known) first.set(name, txid)
      }
    }
    return first
  }
}
