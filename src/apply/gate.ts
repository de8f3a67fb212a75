import type { LtxBody } from '../db/ltx-body.js'

/** One or more consecutive transactions as one LTX file, received whole and verified. */
export interface VerifiedLtx {
  readonly minTxid: bigint
  readonly maxTxid: bigint
  /** Checksum of the database before it; zero for a snapshot. */
  readonly preApply: bigint
  readonly postApply: bigint
  readonly body: LtxBody
}

/** Whoever must know of a transaction before it is applied: the thread that serves the mount and keeps the positions. */
export interface Gate {
  /** Lets the applier's process `pid` write this transaction to the database. Resolves to false when it is there already. Rejects when it does not follow. */
  announce(name: string, ltx: VerifiedLtx, pid: number): Promise<boolean>
  /** Writes what was announced to a database that is not there yet. Resolves to false where it is, or somebody has it open: a writer has to do it. */
  fill(name: string): Promise<boolean>
  /** The transaction has been applied, or cannot be: nothing more of it may be written. Resolves once its position is in force. */
  conclude(name: string, ltx: VerifiedLtx, applied: boolean): Promise<void>
}
