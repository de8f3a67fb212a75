/** Where a database stands. */
interface Position {
  readonly txid: bigint
  readonly checksum: bigint
}

/** How somebody else's databases stand to this node's. */
export interface Comparison {
  /** Transactions that he has and this node has not. */
  readonly ahead: bigint
  /** Transactions that this node has and he has not. */
  readonly behind: bigint
  /** Databases that stand at the same transaction with other content: the two have gone apart. */
  readonly apart: readonly string[]
}

/** Compares positions by database; one that is not there stands at 0. */
export function compare(own: ReadonlyMap<string, Position>, theirs: ReadonlyMap<string, Position>): Comparison {
  let ahead = 0n
  let behind = 0n
  const apart: string[] = []
  for (const name of new Set([...own.keys(), ...theirs.keys()])) {
    const [here, there] = [own.get(name), theirs.get(name)]
    const difference = (there?.txid ?? 0n) - (here?.txid ?? 0n)
    if (difference > 0n) ahead += difference
    else behind -= difference
    if (difference === 0n && here?.checksum !== there?.checksum) apart.push(name)
  }
  return { ahead, behind, apart }
}

/** Whether somebody has everything that this node has, and more. */
export function isAhead({ ahead, behind, apart }: Comparison): boolean {
  return ahead > 0n && behind === 0n && apart.length === 0
}
