import type { PageState } from './page-state.js'

/** Where a database starts from: what recovery found, or nothing. */
export interface DatabaseStart {
  readonly state: PageState
  /** Wall-clock time of the last transaction, milliseconds; 0 when there was none. */
  readonly lastCommitMs: number
}

/** What a database tells the store of, or asks it. */
export interface DatabaseWatcher<Database> {
  /** A transaction was captured that is not final yet. */
  provisional(database: Database): void
  /** The database file is about to be written without a journal, for the first time since its last transaction. */
  unjournaled(database: Database): void
  /** The database file is no whole database and so no transaction: somebody has begun to copy one and not finished. */
  cutShort(database: Database): void
  /** Whether somebody holds all locks of its wal-index, so that no connection can be using it. */
  isSuperlocked(database: Database): boolean
  /** The WAL is written from its beginning again, over what it held, and the kernel has cut many of the writes before. */
  walCut(database: Database): void
  /** Pages of a captured transaction could not be written to the database file: they stay in memory. */
  unwritten(database: Database, error: unknown): void
}
