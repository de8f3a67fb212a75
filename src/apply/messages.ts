import type { LtxBody } from '../db/ltx-body.js'
import type { Position } from '../ltx/names.js'
import type { SeenVersion } from './seen-version.js'

/** What the applier process is told when it starts: its one argument, as JSON. */
export interface ApplierSettings {
  /** The directory with the databases: the mount. */
  readonly dir: string
  /** See ApplyOptions. */
  readonly sync: boolean
  readonly busyTimeoutMs: number
}

/** From the node to the applier process. Each is answered by one `done` or `failed` of the same id. `seen`: as another one reported it. */
export type ApplierCommand = ApplierDeed & { readonly id: number; readonly seen: SeenVersion | undefined }

export type ApplierDeed =
  | {
      readonly type: 'apply'
      readonly database: string
      readonly body: LtxBody
      /** How long readers that have it locked are waited for; undefined for busyTimeoutMs. */
      readonly timeoutMs: number | undefined
    }
  /** Make a database that is to be written by other means, if it is not there, and have nothing of it open. */
  | { readonly type: 'stepAside'; readonly database: string }
  /**
   * Let go of a database, so that others may change its journal mode or remove its log; but keep that for `makeNoticed` where not everybody
   * would notice that it has been.
   */
  | { readonly type: 'release'; readonly database: string }
  /** See ReplicaDatabase. */
  | { readonly type: 'makeNoticed'; readonly database: string }
  | { readonly type: 'raiseSchemaCookie'; readonly database: string }
  /**
   * Keep other writers out of a database, once those at work are done; at most so long they are waited for. `recover`: what one that died
   * has left in a rollback journal is undone first.
   */
  | {
      readonly type: 'hold'
      readonly database: string
      readonly timeoutMs: number
      readonly recover: boolean
    }
  /** Keep them out no longer. */
  | { readonly type: 'letGo'; readonly database: string }

/** From the applier process to the node. */
export type ApplierReport =
  | { readonly type: 'done'; readonly id: number; readonly outcome: ApplierOutcome }
  | { readonly type: 'failed'; readonly id: number; readonly error: Error }
  /** Something that is tried again. */
  | { readonly type: 'warning'; readonly error: Error }

export interface ApplierOutcome {
  /** After `apply`. */
  readonly position: Position | undefined
  /** After `stepAside`: nothing of it is open. */
  readonly isAside: boolean
  /** After `release`: the log is kept. */
  readonly isKept: boolean
  /** What connections may have cached; whoever comes after this process has to know. */
  readonly seen: SeenVersion | undefined
}
