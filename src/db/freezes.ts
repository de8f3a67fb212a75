import type { DatabaseLayout } from './layout.js'
import { type FreezeStart, PageFreeze } from './page-freeze.js'

/** Where each is: who began it does not know of renames. */
const owners = new WeakMap<PageFreeze, Set<PageFreeze>>()

/** Those who read one database as it was: each keeps what is about to be overwritten. */
export class Freezes {
  readonly #freezes = new Set<PageFreeze>()

  get size(): number {
    return this.#freezes.size
  }

  /** Throws a system error. */
  begin(layout: DatabaseLayout, start: FreezeStart): PageFreeze {
    const freeze = new PageFreeze(layout, start)
    this.#freezes.add(freeze)
    owners.set(freeze, this.#freezes)
    return freeze
  }

  /** Also of one whose file is another database's by now. */
  end(freeze: PageFreeze): void {
    owners.get(freeze)?.delete(freeze)
    freeze.close()
  }

  beforeWrite(offset: number, length: number): void {
    for (const freeze of this.#freezes) freeze.beforeWrite(offset, length)
  }

  beforeTruncate(size: number): void {
    for (const freeze of this.#freezes) freeze.beforeTruncate(size)
  }

  beforeWalReset(): void {
    for (const freeze of this.#freezes) freeze.beforeWalReset()
  }

  /** Their file is another database's now, and so are the writes that they must be kept from. */
  handTo(target: Freezes): void {
    for (const freeze of this.#freezes) {
      target.#freezes.add(freeze)
      owners.set(freeze, target.#freezes)
    }
    this.#freezes.clear()
  }
}
