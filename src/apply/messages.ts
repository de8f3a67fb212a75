import type { LtxBody } from '../db/ltx-body.js'
import type { Position } from '../ltx/names.js'

/** What the applier process is told when it starts: its one argument, as JSON. */
export interface ApplierSettings {
  /** The directory with the databases: the mount. */
  readonly dir: string
  /** See ApplyOptions. */
  readonly sync: boolean
  readonly busyTimeoutMs: number
}

/** From the node to the applier process. Each is answered by one `done` or `failed` of the same id. */
export type ApplierCommand =
  | {
      readonly type: 'apply'
      readonly id: number
      readonly database: string
      readonly body: LtxBody
      /** How long readers that have it locked are waited for; undefined for busyTimeoutMs. */
      readonly timeoutMs: number | undefined
    }
  /** Let go of a database, so that others may change its journal mode or remove its log. */
  | { readonly type: 'release'; readonly id: number; readonly database: string }
  /**
   * Keep other writers out of a database, once those at work are done; at most so long they are waited for. `recover`: what one that died
   * has left in a rollback journal is undone first.
   */
  | {
      readonly type: 'hold'
      readonly id: number
      readonly database: string
      readonly timeoutMs: number
      readonly recover: boolean
    }
  /** Keep them out no longer. */
  | { readonly type: 'letGo'; readonly id: number; readonly database: string }

/** From the applier process to the node. */
export type ApplierReport =
  | { readonly type: 'done'; readonly id: number; readonly position: Position | undefined }
  | { readonly type: 'failed'; readonly id: number; readonly error: Error }
  /** Something that is tried again. */
  | { readonly type: 'warning'; readonly error: Error }
