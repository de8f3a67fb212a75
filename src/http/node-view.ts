import type { Readable } from 'node:stream'
import type { Position } from '../ltx/names.js'
import type { ConnectedReplicas } from '../replication/connected-replicas.js'
import type { HaltLock } from '../replication/halt-lock.js'
import type { ReceivedLtx } from '../replication/incoming-file.js'
import type { Source } from '../replication/source.js'

/** What the HTTP API shows of a node and has it do. */
export interface NodeView {
  /** 16 upper-case hex digits. */
  readonly nodeId: string
  /** `LFSC` and 16 hex digits; undefined until the cluster has one. */
  clusterId(): string | undefined
  role(): Role
  /** Why the node cannot serve yet or any more; undefined when it can. */
  notReady(): Promise<string | undefined>
  readonly dataDir: string
  databases(): Promise<readonly DatabaseView[]>
  /** How the backup of each database is doing; none without a backup. */
  backups(): readonly BackupView[]
  readonly source: FollowedSource
  /** Those that follow this node; none on a replica. */
  readonly replicas: ConnectedReplicas
  /** While this node is the primary: until the signal, under a lease of this epoch (undefined where leases are not counted). */
  serving(): Serving | undefined
  /** A replica has heard of a later lease than this node's. */
  heardOf(epoch: bigint): void
  /** Whom this node follows; undefined on the primary. */
  primary(): PrimaryView | undefined
  readonly roles: RoleControl
  /** What other nodes can do under halt locks. */
  readonly halts: HaltControl
  /** Replaces a database, or makes it, as one transaction. Rejects with ImportError when the content is no database. */
  importDatabase(name: string, content: Readable): Promise<ImportedDatabase>
  /** LZ4 in snapshots. */
  readonly compress: boolean
  /** Longest time a snapshot may take to send, milliseconds; 0 for no limit. */
  readonly snapshotTimeoutMs: number
}

export interface Role {
  readonly isPrimary: boolean
  readonly candidate: boolean
  /** The primary's, where it is known. */
  readonly primaryHostname: string | undefined
  /** Behind the primary, milliseconds; undefined before the first sync. */
  readonly lagMs: number | undefined
}

/** What others can do to this node's role. Each rejects with RequestError where it cannot be done. */
export interface RoleControl {
  /** Becomes the primary: asks the one there is to hand over. */
  promote(): Promise<void>
  /** Hands over to a connected replica. */
  handOff(nodeId: string): Promise<void>
  /** Steps down, for a replica where there is one. */
  demote(): Promise<void>
  /** Takes over a lease that another node has won, this one being ahead of it. */
  takeLease(leaseId: string): Promise<void>
  standing(): Promise<Standing>
  /** Calls `listener` when there is another primary, until the returned function is called. */
  onPrimaryChange(listener: () => void): () => void
}

/** Who asks for a halt lock. */
export interface HaltHolderFacts {
  /** 16 upper-case hex digits. */
  readonly nodeId: string
  /** Whether it says that it lives while it holds a lock; LiteFS' nodes do not. */
  readonly renews: boolean
}

/** Halt locks of this node's databases, for other nodes. Each rejects with RequestError where it cannot be done. */
export interface HaltControl {
  /**
   * Keeps the writers of a database waiting for the node that chose `id`, or goes on with it; with `renew` only that. Those at work are waited
   * for, and so are other nodes' locks, for a time. Another lock of the same holder ends: he has forgotten it.
   */
  take(name: string, id: bigint, holder: HaltHolderFacts, renew: boolean): Promise<HaltLock>
  /** Lets the writers of the database go on, if they wait for that lock. */
  release(name: string, id: bigint): Promise<void>
  /** Commits a transaction of the lock's holder. Resolves when it is there for all readers, and durable. */
  commit(name: string, id: bigint, ltx: ReceivedLtx): Promise<void>
}

export interface Standing {
  /** Whether this node ever had all of its cluster's data. */
  readonly isSynced: boolean
  /** The highest that it has heard of. */
  readonly epoch: bigint
  readonly positions: ReadonlyMap<string, Position>
}

export interface Serving {
  readonly signal: AbortSignal
  readonly epoch: bigint | undefined
}

export interface PrimaryView {
  readonly hostname: string
  readonly url: string
  /** Of its proxy, if it says so. */
  readonly proxyUrl?: string | undefined
  /** Whether its stream is open. */
  readonly connected: boolean
  /** Behind it, milliseconds; undefined before the first sync. */
  readonly lagMs: number | undefined
}

export interface FollowedSource extends Source {
  follow(): Promise<() => void>
  readonly subscriberCount: number
}

export interface DatabaseView {
  readonly name: string
  readonly position: Position
  readonly pageSize: number
  /** 0 for one that was dropped. */
  readonly pageCount: number
  readonly journalMode: 'wal' | 'rollback'
  readonly lastCommitMs: number
  /** Behind the primary, milliseconds; undefined before the first sync. */
  readonly lagMs: number | undefined
  readonly ltx: {
    /** TXIDs from the first to the last file; zero where there are none. */
    readonly minTxid: bigint
    readonly maxTxid: bigint
    readonly count: number
    readonly bytes: number
    /** Files that retention removed since the start. */
    readonly reapCount: number
  }
  readonly commitCount: number
  /** Writes refused as a replica, since the start. */
  readonly rejectedWriteCount: number
  /** Snapshots that took the place of what this node had, which is kept, since the start. */
  readonly supersededCount: number
  readonly writeCounts: Readonly<Record<'database' | 'journal' | 'wal' | 'shm', number>>
}

export interface BackupView {
  readonly name: string
  /** How long the oldest transaction that the backup lacks has been there, milliseconds. */
  readonly lagMs: number
  /** Uploaded since the start, merged files and full copies too. */
  readonly writtenBytes: number
  /** Since the start. */
  readonly errorCount: number
  /** Wall clock, milliseconds; 0 when there was none. */
  readonly lastSuccessMs: number
  /** The last TXID of the database that the backup has; undefined where that is not known. */
  readonly txid: bigint | undefined
  /** What is wrong now. */
  readonly error: string | undefined
}

export interface ImportedDatabase {
  readonly pageSize: number
  readonly pageCount: number
}
