// What writers were told, and what is there in the end. Times are of one monotonic clock that all processes share, in milliseconds.

/** An entry of a database's log, which every transaction adds. It names the one that it found last, so that the log is a chain. */
export interface Entry {
  /** Counts from 1, without gaps. */
  readonly id: number
  /** Writer and number of the transaction, `n1.2/37`: no two have the same. */
  readonly name: string
  /** The name of the entry before it, empty for the first. */
  readonly previous: string
}

/** A transaction that a writer tried. */
export interface Attempt extends Entry {
  readonly database: string
  readonly node: string
  /** Of the lease under which the node took it: they are counted. */
  readonly epoch: number
  readonly begunMs: number
  readonly endedMs: number
  /** SQLite said that it is committed. Otherwise it may be or not. */
  readonly acknowledged: boolean
}

/** The log of a database as a node had it when a snapshot of another one took its place. */
export interface SetAside {
  readonly database: string
  readonly node: string
  readonly log: readonly Entry[]
}

/** While a node could not send what it had acknowledged, or be sent what others had. */
export interface Trouble {
  readonly node: string
  readonly fromMs: number
  readonly toMs: number
}

export interface History {
  readonly nodes: readonly string[]
  readonly attempts: readonly Attempt[]
  /** What all nodes agree on in the end, by database. */
  readonly logs: ReadonlyMap<string, readonly Entry[]>
  readonly setAside: readonly SetAside[]
  readonly troubles: readonly Trouble[]
}
