import type { Position } from '../ltx/names.js'

/** One LTX file: what it needs, what it leaves, and where its bytes are. */
export interface Transaction {
  readonly minTxid: bigint
  /** The database's position after it. */
  readonly after: Position
  readonly preApplyChecksum: bigint
  readonly pageSize: number
  /** Pages of the database after it; 0 drops it. */
  readonly commit: number
  /** Milliseconds since the epoch. */
  readonly timestampMs: number
  /** Node that made it. */
  readonly nodeId: bigint
  readonly path: string
  /** Of the file, bytes. */
  readonly size: number
  /** The whole file, where it is in memory. */
  readonly data: Uint8Array | undefined
}

/** Bytes that an entry takes beside its data: measured, two entries of a Map and a Set with their objects, bigints and the path. */
const ENTRY_BYTES = 650

interface Entry {
  readonly name: string
  readonly transaction: Transaction
}

/**
 * The last transactions of all databases, with their bytes, up to a limit in bytes: the oldest go first, whose database they may be.
 * What is larger than a quarter of the limit is not kept.
 */
export class RecentTransactions {
  readonly #limitBytes: number
  readonly #byDatabase = new Map<string, Map<bigint, Entry>>()
  readonly #order = new Set<Entry>()
  #bytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#bytes
  }

  add(name: string, transaction: Transaction): void {
    if (sizeOf(transaction) > this.#limitBytes / 4) return
    const database = this.#byDatabase.get(name) ?? new Map<bigint, Entry>()
    this.#byDatabase.set(name, database)
    const entry = { name, transaction }
    database.set(transaction.minTxid, entry)
    this.#order.add(entry)
    this.#bytes += sizeOf(transaction)
    for (const oldest of this.#order) {
      if (this.#bytes <= this.#limitBytes) return
      this.#remove(oldest)
    }
  }

  /** The transaction that begins with this TXID. */
  find(name: string, minTxid: bigint): Transaction | undefined {
    return this.#byDatabase.get(name)?.get(minTxid)?.transaction
  }

  /** Nobody will ask for those of a database up to this TXID. */
  forget(name: string, txid: bigint): void {
    for (const entry of this.#byDatabase.get(name)?.values() ?? []) {
      if (entry.transaction.after.txid > txid) return
      this.#remove(entry)
    }
  }

  #remove(entry: Entry): void {
    const { name, transaction } = entry
    this.#order.delete(entry)
    this.#bytes -= sizeOf(transaction)
    const database = this.#byDatabase.get(name)
    if (database?.get(transaction.minTxid) === entry) database.delete(transaction.minTxid)
    if (database?.size === 0) this.#byDatabase.delete(name)
  }
}

function sizeOf(transaction: Transaction): number {
  return ENTRY_BYTES + (transaction.data?.length ?? 0)
}
