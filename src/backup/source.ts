import type { FrozenPages } from '../db/page-freeze.js'
import type { Position } from '../ltx/names.js'

/** One LTX file of the node that is backed up, or several transactions that recovery made one. */
export interface SourceTransaction {
  readonly minTxid: bigint
  /** Position after it. */
  readonly after: Position
  readonly preApplyChecksum: bigint
  /** Bytes. */
  readonly pageSize: number
  /** Pages of the database after it; 0 drops it. */
  readonly commit: number
  /** Milliseconds since the epoch. */
  readonly timestampMs: number
  readonly path: string
  /** The whole file, where it is in memory. */
  readonly data: Uint8Array | undefined
}

export interface SourcePosition extends Position {
  /** Of the last transaction, milliseconds since the epoch. */
  readonly timestampMs: number
}

/** A database kept as it was until it is released. */
export interface HeldPages {
  readonly pages: FrozenPages
  release(): void
}

/** What is backed up: the databases of this node. Everything in it is final and durable. */
export interface BackupSource {
  readonly nodeId: bigint
  /** Resolves when positions are known and kept up to date, within tenths of a second, until the returned function is called. */
  follow(pace: 'eventually'): Promise<() => void>
  positions(): ReadonlyMap<string, SourcePosition>
  /** Calls `listener` with the name of each database that has a new position, until the returned function is called. */
  subscribe(listener: (name: string) => void): () => void
  /** The LTX file that begins with this TXID; undefined where there is none any more. */
  transaction(name: string, minTxid: bigint): Promise<SourceTransaction | undefined>
  /** Undefined where the database has no pages. */
  snapshot(name: string): Promise<HeldPages | undefined>
  /** Told when the pages of a snapshot were not those of its position: what was captured cannot be relied upon. */
  doubt(name: string): void
}
