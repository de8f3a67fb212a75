import type { Database } from '../db/database.js'
import type { ReceivedLtx } from '../db/reception.js'
import type { Log } from '../log.js'
import { formatLtxName, type Position } from '../ltx/names.js'
import type { Store } from '../store/store.js'
import { dropSuperseded, forgetSuperseded, type Superseded } from '../store/superseded.js'

interface Pending {
  readonly kept: Superseded
  /** What takes the place: a snapshot, or what follows it. */
  readonly by: ReceivedLtx
}

/** Keeps what a snapshot of the primary replaces: some may be transactions that only this node had. */
export class Superseding {
  readonly #store: Store
  readonly #log: Log
  readonly #pending = new Map<string, Pending>()
  readonly #counts = new Map<string, number>()

  constructor(store: Store, log: Log) {
    this.#store = store
    this.#log = log
  }

  /** How often that was done with this database, since the start. */
  count(name: string): number {
    return this.#counts.get(name) ?? 0
  }

  /** Before `ltx` is applied. What is kept already stays that, since an earlier snapshot may turn out to count. Rejects with a system error. */
  async prepare(database: Database, ltx: ReceivedLtx): Promise<void> {
    const { name, position, committer } = database
    const pending = this.#pending.get(name)
    // It has come otherwise since. The directory stays: twice rather than not at all.
    if (pending !== undefined && !isAt(committer.position, pending.by)) this.#pending.delete(name)
    if (ltx.minTxid !== 1n || position.txid === 0n || this.#pending.has(name)) return
    const kept = await this.#store.keepSuperseded(database)
    if (kept !== undefined) this.#pending.set(name, { kept, by: ltx })
  }

  /** What was announced has been applied, or not. Throws a system error. */
  conclude(database: Database, announced: ReceivedLtx): void {
    const { name, layout, position, committer } = database
    const pending = this.#pending.get(name)
    if (pending === undefined) return
    const { kept } = pending
    if (!isAt(position, announced)) {
      // Written, and nobody knows yet whether it counts: what comes next tells.
      const written = [announced, pending.by].find((ltx) => isAt(committer.position, ltx))
      if (written !== undefined) {
        this.#pending.set(name, { kept, by: written })
        return
      }
      this.#pending.delete(name)
      forgetSuperseded(kept)
      return
    }
    this.#pending.delete(name)
    this.#counts.set(name, this.count(name) + 1)
    dropSuperseded(kept, layout, formatLtxName(announced.minTxid, announced.maxTxid))
    void this.#store.countAgain(database)
    this.#log.warn(`a snapshot of the primary has replaced ${name}: its own transactions are kept in ${kept.dir}`)
  }
}

function isAt({ txid, checksum }: Position, { maxTxid, postApply }: ReceivedLtx): boolean {
  return txid === maxTxid && checksum === postApply
}
