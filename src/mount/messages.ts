import type { SingleLtx } from '../db/ltx-body.js'
import type { FrozenPages } from '../db/page-freeze.js'
import type { ReceivedLtx } from '../db/reception.js'
import type { Position } from '../ltx/names.js'
import type { FollowPace } from '../store/commit-feed.js'
import type { LtxCounts } from '../store/ltx-tally.js'
import type { TraceOptions } from '../trace.js'

/** What the file-system thread needs to start: plain values, copied to it. */
export interface FileSystemOptions {
  /** Of this node. */
  readonly nodeId: bigint
  readonly dataDir: string
  readonly mountDir: string
  readonly compress: boolean
  readonly syncEveryCommit: boolean
  /** The memory of the Fence. */
  readonly fence: SharedArrayBuffer
  /** Names and memory of the PositionBoard: the databases whose positions are told of there. */
  readonly positions: { readonly names: readonly string[]; readonly memory: SharedArrayBuffer }
  readonly retentionMs: number
  readonly retentionIntervalMs: number
  readonly owner: { readonly uid: number; readonly gid: number }
  readonly tracing: TraceOptions
  readonly traceToStdout: boolean
  /** Log every request of the kernel. */
  readonly debug: boolean
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** From the main thread to the file-system thread. */
export type Command =
  /** Serve the mount behind this descriptor; sent once, after `ready`. */
  | { readonly type: 'serve'; readonly fd: number }
  /** Serve the mount of the lock files behind this descriptor; sent at most once. */
  | { readonly type: 'serveLocks'; readonly fd: number }
  | { readonly type: 'ask'; readonly id: number; readonly question: Question }
  /** The answer to a request. */
  | { readonly type: 'reply'; readonly id: number; readonly reply: Reply }
  /** Serve no more, write everything down and end. */
  | { readonly type: 'stop' }

/** What the main thread may ask; each question is answered once, or refused with an error. */
export type Question =
  /** How every database is now. */
  | { readonly kind: 'databases' }
  /** Where each database on the board is now; the board says it too then. */
  | { readonly kind: 'positions' }
  /** Tell of transactions from now on (`commits`), or no more. Answered when every transaction before is in a file or was told of. */
  | { readonly kind: 'follow'; readonly pace: FollowPace }
  /** Keep a database as it is now until it is thawed. */
  | { readonly kind: 'freeze'; readonly name: string }
  | { readonly kind: 'thaw'; readonly freezeId: number }
  /**
   * Be a replica: take transactions from another node only, let nobody write but the process `pid`, if there is one, and name this primary,
   * if it is known. Answered when what was committed before is final, as far as it can be, and durable.
   */
  | { readonly kind: 'receive'; readonly primary: string | undefined; readonly pid: number | undefined }
  /**
   * Be the primary: transactions are made here, by whoever writes, as long as the fence is open. Not of the `late` databases, to which the applier
   * goes on to apply what the last primary has sent, until `unhalt`.
   */
  | { readonly kind: 'lead'; readonly late: readonly string[] }
  /** A replica has everything that the primary had at this moment, milliseconds since the epoch. */
  | { readonly kind: 'current'; readonly timestampMs: number }
  /** What the connected replicas need: by database, the first TXID that one of them has not got yet. */
  | { readonly kind: 'needed'; readonly txids: ReadonlyMap<string, bigint> }
  /** Let the process `pid` write this transaction. Refused when it does not follow. */
  | { readonly kind: 'announce'; readonly name: string; readonly ltx: ReceivedLtx; readonly pid: number }
  /** Write what was announced, if nobody has the database open; a writer has to do it otherwise. */
  | { readonly kind: 'fill'; readonly name: string }
  /** What was announced is written, or will not be. */
  | { readonly kind: 'conclude'; readonly name: string; readonly applied: boolean }

  /**
   * On the primary: let nobody write to this database but the process `pid`, which holds its locks, and take transactions from another node.
   * Answered when what was committed before is final and durable.
   */
  | { readonly kind: 'halt'; readonly name: string; readonly pid: number }
  /** On the primary: make transactions of this database here again. Where they are made already nothing changes. */
  | { readonly kind: 'unhalt'; readonly name: string }
  /** On the primary: let nobody write to a database that is not there, until `unhalt`, but who announces a whole one. */
  | { readonly kind: 'reserve'; readonly name: string }
  /** Have everything of this database durable. */
  | { readonly kind: 'secure'; readonly name: string }
  /** On a replica: let everybody write to this database, which must be just there, each transaction being committed by `commit` first. */
  | { readonly kind: 'forward'; readonly name: string; readonly position: Position }
  /** On a replica: let nobody write to this database any more. */
  | { readonly kind: 'unforward'; readonly name: string }

export interface Answers {
  databases: readonly DatabaseStatus[]
  /** In the order of their names on the board: no TXID older than a transaction that anybody was told of before the question. */
  positions: readonly bigint[]
  follow: undefined
  /** Undefined where there is no such database. */
  freeze: { readonly freezeId: number; readonly pages: FrozenPages } | undefined
  thaw: undefined
  receive: undefined
  lead: undefined
  current: undefined
  needed: undefined
  /** False when the transaction is there already. */
  announce: boolean
  /** Whether it is written. */
  fill: boolean
  /** Of the database now, final. */
  conclude: Position
  /** Undefined where there is no such database. */
  halt: Position | undefined
  unhalt: undefined
  /** False when there is such a database. */
  reserve: boolean
  /** Final and durable. */
  secure: Position
  /** False when it is not there yet. */
  forward: boolean
  unforward: undefined
}

/** What the file-system thread may ask of the main thread. */
export type Request =
  /** Mount the lock files. */
  | { readonly kind: 'openLocks' }
  /** Take the halt lock of a database; true when it was taken, false where none is needed. */
  | { readonly kind: 'takeHalt'; readonly name: string; readonly lockId: number }
  | { readonly kind: 'releaseHalt'; readonly name: string; readonly lockId: number }
  /** Have the primary commit a transaction of a database whose halt lock this node holds. */
  | { readonly kind: 'commit'; readonly name: string; readonly ltx: SingleLtx }

/** How a request went; `code` is a system error's, for who waits for an errno. */
export type Reply =
  | { readonly ok: true; readonly value: boolean }
  | { readonly ok: false; readonly message: string; readonly code: string }

/** One database, dropped ones included (pageCount is 0 then). */
export interface DatabaseStatus {
  readonly name: string
  /** Final and durable. */
  readonly position: Position
  /** Bytes. */
  readonly pageSize: number
  readonly pageCount: number
  readonly journalMode: 'wal' | 'rollback'
  /** Wall clock, milliseconds; 0 when there was none. */
  readonly lastCommitMs: number
  /** Since the start. */
  readonly commitCount: number
  readonly ltx: LtxCounts
  /** Writes that this node refused as a replica, since the start. */
  readonly rejectedWriteCount: number
  /** Snapshots that took the place of what this node had, which is kept, since the start. */
  readonly supersededCount: number
  /** Somebody has its file open. */
  readonly isOpen: boolean
  readonly writeCounts: {
    readonly database: number
    readonly journal: number
    readonly wal: number
    readonly shm: number
  }
}

/** A transaction that is final and durable. */
export interface CommitReport {
  readonly name: string
  /** Of its LTX file. */
  readonly path: string
  /** Where its LTX file lies in the bytes that came with it; -1 when it is too large, but on disk. */
  readonly start: number
  readonly length: number
}

/** From the file-system thread to the main thread. */
export type Report =
  | {
      readonly type: 'log'
      readonly level: LogLevel
      readonly message: string
      readonly fields: Record<string, unknown>
    }
  | { readonly type: 'commits'; readonly commits: readonly CommitReport[]; readonly bytes: Uint8Array }
  | { readonly type: 'request'; readonly id: number; readonly request: Request }
  | { readonly type: 'answer'; readonly id: number; readonly value: Answers[keyof Answers] }
  | { readonly type: 'refused'; readonly id: number; readonly error: Error }
  /** The databases are recovered. */
  | { readonly type: 'ready' }
  /** The kernel asks no more: the mount is gone, or the device failed. */
  | { readonly type: 'ended'; readonly error: Error | undefined }
  /** Everything is written down; the thread ends. */
  | { readonly type: 'stopped' }
  /** The thread cannot go on. */
  | { readonly type: 'failed'; readonly error: Error }
