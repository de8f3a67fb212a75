// A node that is not ours: LiteFS 0.5, or what plays it.
import type { FakeLeaseOptions } from './fake-litefs-lease.js'

export interface PeerOptions extends Omit<FakeLeaseOptions, 'advertiseUrl'> {
  /** Where its files go; it exists. */
  readonly base: string
  readonly port: number
}

export interface LitefsPeer {
  readonly hostname: string
  readonly url: string
  start(): Promise<void>
  /** As by SIGTERM: its lease is free at once. */
  stop(): Promise<void>
  /** As by SIGKILL: its lease runs out. */
  kill(): Promise<void>
  /** The path of a database that SQLite can read. */
  file(name: string): string
  /** SQL on a database, in the sqlite3 shell; each text is one transaction at most. */
  execute(name: string, sql: string): Promise<string>
  /** Where a database stands; TXID and checksum, 16 hex digits each. Rejects where it is not there. */
  position(name: string): Promise<{ txid: string; checksum: string }>
  /** SQL under the halt lock, while it is a replica; undefined where the peer cannot. */
  executeHalted(name: string, sql: string): Promise<string | undefined>
  /** What it printed. */
  output(): string
}
