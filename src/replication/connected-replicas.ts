import type { Position } from '../ltx/names.js'

/** What one replica, whose stream is open, has been sent. */
export class ConnectedReplica {
  /** 16 upper-case hex digits. */
  readonly nodeId: string
  /** IP address. */
  readonly address: string
  /** Since when, milliseconds since the epoch. */
  readonly connectedMs: number
  readonly #sent: Map<string, bigint>
  /** Where snapshots lead that are being sent. */
  readonly #snapshots = new Map<string, bigint>()

  constructor(nodeId: string, address: string, positions: ReadonlyMap<string, Position>) {
    this.nodeId = nodeId
    this.address = address
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

  /** By database, the first TXID that it will need. */
  *needs(): Generator<[string, bigint]> {
    for (const [name, txid] of this.#sent) if (!this.#snapshots.has(name)) yield [name, txid + 1n]
    for (const [name, txid] of this.#snapshots) yield [name, txid + 1n]
  }
}

/** The replicas whose streams are open. */
export class ConnectedReplicas {
  readonly #replicas = new Set<ConnectedReplica>()
  readonly #changed: () => void

  /** `changed` is told when one comes or goes. */
  constructor(changed: () => void) {
    this.#changed = changed
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
    this.#changed()
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
