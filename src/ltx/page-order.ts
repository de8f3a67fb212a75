import { lockPage } from './checksum.js'
import { LtxError } from './error.js'
import { isSnapshot, type LtxHeader } from './header.js'

/** Holds the page numbers of one file to the rules: ascending, at most commit, no lock page, all of them in a snapshot. */
export class PageOrder {
  readonly #commit: number
  readonly #lockPage: number
  readonly #complete: boolean
  #last = 0

  constructor(header: LtxHeader) {
    this.#commit = header.commit
    this.#lockPage = lockPage(header.pageSize)
    this.#complete = isSnapshot(header)
  }

  /** Takes the next page number. Throws LtxError. */
  next(pgno: number): void {
    if (pgno === this.#lockPage) throw new LtxError(`Invalid LTX page ${pgno}: it is the lock page`)
    if (pgno > this.#commit) throw new LtxError(`Invalid LTX page ${pgno}: the database has ${this.#commit} pages`)
    if (pgno <= this.#last) throw new LtxError(`Invalid LTX page ${pgno}: it follows page ${this.#last}`)
    if (this.#complete && pgno !== this.#following()) {
      throw new LtxError(`Invalid LTX page ${pgno}: the snapshot lacks page ${this.#following()}`)
    }
    this.#last = pgno
  }

  /** Says that no page follows. Throws LtxError when a snapshot is not complete. */
  end(): void {
    const missing = this.#following()
    if (this.#complete && missing <= this.#commit) {
      throw new LtxError(`Invalid LTX snapshot: page ${missing} of ${this.#commit} is missing`)
    }
  }

  #following(): number {
    return this.#last + 1 === this.#lockPage ? this.#last + 2 : this.#last + 1
  }
}
