import { opendir } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { formatTxid, parseLtxName } from '../ltx/names.js'
import { isNewer, type TxidRange } from './ltx-directory.js'

/** Names that are read and sorted at a time: about a millisecond. */
const RUN_NAMES = 1024
/** TXIDs whose files `before` looks for at a time. */
const STEP_TXIDS = 1024n

/**
 * The names of the LTX files of a directory as they were when it was read, for directories with millions of them: other work goes on
 * meanwhile. As the names have leading zeros, their order is that of the TXIDs; they are kept in many short sorted runs.
 */
export class LtxListing {
  readonly #runs: readonly (readonly string[])[]
  /** The file that leads furthest. */
  readonly newest: string | undefined

  private constructor(runs: readonly (readonly string[])[], newest: string | undefined) {
    this.#runs = runs
    this.newest = newest
  }

  /** Rejects with a system error. */
  static async read(directory: string): Promise<LtxListing> {
    const runs: string[][] = []
    let run: string[] = []
    let newest: (TxidRange & { name: string }) | undefined
    for await (const { name } of await opendir(directory, { bufferSize: RUN_NAMES })) {
      const range = parseLtxName(name)
      if (range === undefined) continue
      run.push(name)
      if (newest === undefined || isNewer(range, newest)) newest = { ...range, name }
      if (run.length < RUN_NAMES) continue
      runs.push(run.sort())
      run = []
      await setImmediate()
    }
    if (run.length > 0) runs.push(run.sort())
    return new LtxListing(runs, newest?.name)
  }

  /** The first name of all that is not before `bound`, which may be the beginning of a name. */
  from(bound: string): string | undefined {
    let found: string | undefined
    for (const run of this.#runs) {
      const name = run[lowerBound(run, bound)]
      if (name !== undefined && (found === undefined || name < found)) found = name
    }
    return found
  }

  /** All names before `bound` in order, a few at a time. */
  async *before(bound: string): AsyncGenerator<string[]> {
    for (let first = this.from(''); first !== undefined && first < bound; ) {
      const next = formatTxid((parseLtxName(first)?.minTxid ?? 0n) + STEP_TXIDS)
      const end = next < bound ? next : bound
      const start = first
      yield this.#runs.flatMap((run) => run.slice(lowerBound(run, start), lowerBound(run, end))).sort()
      first = this.from(end)
      await setImmediate()
    }
  }
}

/** Index of the first name that is not before `bound`. */
function lowerBound(names: readonly string[], bound: string): number {
  let low = 0
  let high = names.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((names[middle] ?? '') < bound) low = middle + 1
    else high = middle
  }
  return low
}
