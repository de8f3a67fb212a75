import assert from 'node:assert/strict'

/** Where the count of refused writes lies; the TXIDs follow. */
const REFUSED = 0

/** Where databases are found by their names. */
export interface Databases {
  get(name: string): { readonly position: { readonly txid: bigint } } | undefined
}

interface Waiter {
  readonly txid: bigint
  readonly resolve: () => void
}

interface Watched {
  readonly waiters: Set<Waiter>
  /** Somebody looks for them. */
  isWatched: boolean
}

/**
 * Where some databases stand, in memory that the node's threads share: the file-system thread writes, everybody else reads without asking,
 * and who waits for a transaction is woken by it.
 */
export class PositionBoard {
  readonly names: readonly string[]
  /** With `names`, what another thread makes its own board of. */
  readonly memory: SharedArrayBuffer
  readonly #slots: BigInt64Array<SharedArrayBuffer>
  readonly #indices: ReadonlyMap<string, number>
  readonly #watched: readonly Watched[]

  /** All zero, where `memory` is new. */
  constructor(names: readonly string[], memory = new SharedArrayBuffer(8 * (names.length + 1))) {
    this.names = names
    this.memory = memory
    this.#slots = new BigInt64Array(memory)
    this.#indices = new Map(names.map((name, index) => [name, index + 1]))
    this.#watched = ['', ...names].map(() => ({ waiters: new Set(), isWatched: false }))
  }

  /** Of the last final transaction; 0 where there is no such database. */
  txid(name: string): bigint {
    return this.#read(this.#indexOf(name))
  }

  /** Tells of a database's last final transaction, and wakes those who wait for it. */
  update(name: string, txid: bigint): void {
    const index = this.#indexOf(name)
    if (this.#read(index) === txid) return
    Atomics.store(this.#slots, index, BigInt.asIntN(64, txid))
    Atomics.notify(this.#slots, index)
  }

  /** The same of all. */
  updateAll(databases: Databases): void {
    for (const name of this.names) this.update(name, databases.get(name)?.position.txid ?? 0n)
  }

  /** Writes to any database that were refused because this node is a replica, since the start. */
  get refusedWrites(): number {
    return Number(Atomics.load(this.#slots, REFUSED))
  }

  countRefusedWrite(): void {
    Atomics.add(this.#slots, REFUSED, 1n)
  }

  /** Resolves to true once the database is at `txid` or beyond, to false when the signal is aborted before. */
  async reached(name: string, txid: bigint, signal: AbortSignal): Promise<boolean> {
    const index = this.#indexOf(name)
    if (this.#read(index) >= txid) return true
    if (signal.aborted) return false
    const watched = this.#watched[index]
    assert(watched !== undefined)
    const { waiters } = watched
    return await new Promise<boolean>((resolve) => {
      const onAbort = () => {
        waiters.delete(waiter)
        resolve(false)
      }
      const waiter = {
        txid,
        resolve: () => {
          signal.removeEventListener('abort', onAbort)
          resolve(true)
        },
      }
      waiters.add(waiter)
      signal.addEventListener('abort', onAbort, { once: true })
      if (!watched.isWatched) void this.#watch(index, watched)
    })
  }

  /** Goes on for as long as somebody waits: one wait in the shared memory for all of them. */
  async #watch(index: number, watched: Watched): Promise<void> {
    const { waiters } = watched
    watched.isWatched = true
    while (waiters.size > 0) {
      const seen = Atomics.load(this.#slots, index)
      const txid = BigInt.asUintN(64, seen)
      for (const waiter of waiters) {
        if (txid < waiter.txid) continue
        waiters.delete(waiter)
        waiter.resolve()
      }
      if (waiters.size > 0) await Atomics.waitAsync(this.#slots, index, seen).value
    }
    watched.isWatched = false
  }

  #read(index: number): bigint {
    return BigInt.asUintN(64, Atomics.load(this.#slots, index))
  }

  #indexOf(name: string): number {
    const index = this.#indices.get(name)
    assert(index !== undefined, `the positions of ${name} are not followed`)
    return index
  }
}
