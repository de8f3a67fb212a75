import type { FrozenPages } from '../db/page-freeze.js'
import type { Position } from '../ltx/names.js'
import type { Transaction } from './recent.js'

/** A database kept as it was until it is released. */
export interface HeldSnapshot {
  readonly pages: FrozenPages
  release(): void
}

/** What a sender needs of the node whose databases it sends. Everything in it is final and durable. */
export interface Source {
  readonly nodeId: bigint
  /** Where every database stands, dropped ones included. */
  positions(): ReadonlyMap<string, SourcePosition>
  /** By database, the last TXID that is backed up; none without a backup. */
  readonly highWaters: ReadonlyMap<string, bigint>
  /** Calls `listener` with the name of each database that has a new position, until the returned function is called. */
  subscribe(listener: (name: string, transaction: Transaction) => void): () => void
  /** The LTX file that begins with this TXID; undefined where there is none any more. Rejects with LtxError or a system error. */
  transaction(name: string, minTxid: bigint): Promise<Transaction | undefined>
  /** One of the files of a database up to this TXID cannot be read: from now on there are none, and what needs them gets a snapshot. */
  avoidFiles(name: string, txid: bigint): void
  /** Before a replica that stands at a position of which nothing is known here gets a snapshot: its connections may know another schema. */
  prepareFor(name: string, at: Position): Promise<void>
  /** Undefined where the database has no pages. Rejects when it cannot be taken. */
  snapshot(name: string): Promise<HeldSnapshot | undefined>
}

export interface SourcePosition extends Position {
  /** Of the last transaction, milliseconds since the epoch. */
  readonly timestampMs: number
  readonly pageSize: number
}
