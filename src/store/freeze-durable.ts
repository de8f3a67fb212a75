import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from '../db/database.js'
import type { PageFreeze } from '../db/page-freeze.js'

export interface FreezeParts {
  /** TXID up to which the database is final and durable. */
  durableTxid(): bigint
  /** Finds out whether the newest transaction is final; see Settler.settle. */
  settle(): Promise<boolean>
  onFailure(error: unknown): void
}

/** Pause between two looks, milliseconds. */
const PAUSE_MS = 1
/** How long a transaction that is being written to the database file is waited for, milliseconds. */
const UNFINISHED_LIMIT_MS = 30_000

/**
 * Freezes a database where its content is that of a position, and resolves once nothing can take that position back; begins again where
 * something did; to undefined where the database is dropped. Rejects when the database file is full of an unfinished transaction for too long;
 * throws a system error.
 */
export async function freezeDurable(database: Database, parts: FreezeParts): Promise<PageFreeze | undefined> {
  const start = performance.now()
  for (;;) {
    // Whose writer has died before anybody could see it may stay unseen for as long as nobody else writes.
    const isUnseen = await parts.settle()
    const { undoCount, state } = database.committer
    if (state.pageCount === 0) return undefined
    const freeze = database.freeze((error) => parts.onFailure(error), { isUnseen })
    if (freeze !== undefined && (await isFinal(database, freeze, undoCount, parts))) return freeze
    if (freeze !== undefined) database.freezes.end(freeze)
    if (performance.now() - start > UNFINISHED_LIMIT_MS) {
      const seconds = UNFINISHED_LIMIT_MS / 1000
      throw new Error(`Cannot take snapshot of ${database.name}: a transaction has been under way for ${seconds} s`)
    }
    await delay(PAUSE_MS)
  }
}

async function isFinal(
  database: Database,
  freeze: PageFreeze,
  undoCount: number,
  parts: FreezeParts,
): Promise<boolean> {
  try {
    await freeze.prepare()
    while (parts.durableTxid() < freeze.pages.position.txid && database.committer.undoCount === undoCount) {
      await delay(PAUSE_MS)
      await parts.settle()
    }
    return database.committer.undoCount === undoCount
  } catch (error) {
    database.freezes.end(freeze)
    throw error
  }
}
