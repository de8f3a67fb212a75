import type { Database } from '../db/database.js'
import type { PageFreeze } from '../db/page-freeze.js'
import type { Store } from '../store/store.js'
import type { Answers, DatabaseStatus, Question } from './messages.js'

/** Answers what the main thread asks about the databases. */
export class Questions {
  readonly #store: Store
  readonly #freezes = new Map<number, { database: Database; freeze: PageFreeze }>()
  #lastFreezeId = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** Rejects with a system error, or what prevents it. */
  async answer(question: Question): Promise<Answers[keyof Answers]> {
    switch (question.kind) {
      case 'databases':
        return Array.from(this.#store.all(), (database) => this.#status(database)).filter(
          ({ position }) => position.txid > 0n,
        )
      case 'follow':
        if (question.on) await this.#store.follow()
        else this.#store.unfollow()
        return undefined
      case 'freeze':
        return await this.#freeze(question.name)
      case 'thaw':
        this.#thaw(question.freezeId)
        return undefined
    }
  }

  async #freeze(name: string): Promise<Answers['freeze']> {
    const database = this.#store.get(name)
    if (database === undefined || database.state.pageCount === 0) return undefined
    const freeze = await this.#store.freeze(database)
    const freezeId = ++this.#lastFreezeId
    this.#freezes.set(freezeId, { database, freeze })
    return { freezeId, pages: freeze.pages }
  }

  #thaw(freezeId: number): void {
    const frozen = this.#freezes.get(freezeId)
    this.#freezes.delete(freezeId)
    frozen?.database.thaw(frozen.freeze)
  }

  #status(database: Database): DatabaseStatus {
    const { name, journalMode, lastCommitMs, writeCounts, state } = database
    const { feed } = this.#store
    return {
      name,
      position: feed.durablePosition(database),
      pageSize: state.pageSize,
      pageCount: state.pageCount,
      journalMode,
      lastCommitMs,
      commitCount: feed.commitCount(database),
      writeCounts: { ...writeCounts },
    }
  }
}
