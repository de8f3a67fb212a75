/** What the proxy needs to know of the node that it belongs to. */
export interface ProxiedNode {
  /** Who may write now: this node, another one, or nobody that is known. */
  primary(): 'self' | PrimaryAddress | undefined
  /** Before the application is asked to write; call what it gives when it has answered. Undefined while this node is no primary. */
  beginWrite(): (() => void) | undefined
  /** Resolves when that may have changed, after `timeoutMs` milliseconds at the latest. */
  primaryChanged(timeoutMs: number): Promise<void>
  /** How far this node is behind the primary, milliseconds; undefined before it ever had everything. */
  lagMs(): number | undefined
  /** The databases whose positions are followed, in the order of the configuration. */
  readonly databases: readonly string[]
  /** The last transaction that readers of this node see; 0 where there is no such database. */
  txid(database: string): bigint
  /** Resolves to true once readers see that transaction, to false when the signal is aborted before. */
  reached(database: string, txid: bigint, signal: AbortSignal): Promise<boolean>
  /**
   * For each of `databases`, a TXID not older than any transaction that the application was told of before this call. Rejects when the node
   * stops.
   */
  newestTxids(): Promise<readonly bigint[]>
  /** Writes that this node has refused as a replica, to any database, since the start. */
  refusedWrites(): number
}

export interface PrimaryAddress {
  /** Its `lease.hostname`, which Fly.io knows it by. */
  readonly hostname: string
  /** Where its proxy is. */
  readonly proxyUrl: string
}
