import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseLtxName } from '../ltx/names.js'

export interface TxidRange {
  minTxid: bigint
  maxTxid: bigint
}

/** An LTX file by its name. */
export interface LtxEntry extends TxidRange {
  path: string
  name: string
}

/**
 * The LTX files of a directory in the order of their last TXID; of two that end alike the one that reaches back further is last, as LiteFS
 * takes it too: a snapshot that arrived stands behind the files that it overtakes, until they are removed. Other names (temporary files) are passed over; no file is opened.
 */
export function listLtxDirectory(directory: string): LtxEntry[] {
  const entries: LtxEntry[] = []
  for (const name of readdirSync(directory)) {
    const range = parseLtxName(name)
    if (range) entries.push({ path: join(directory, name), name, ...range })
  }
  return entries.sort((a, b) => compare(a.maxTxid, b.maxTxid) || compare(b.minTxid, a.minTxid))
}

/** The last of the LTX files among `names`, which stand in any order, in the order of `listLtxDirectory`. */
export function newestEntry(directory: string, names: readonly string[]): LtxEntry | undefined {
  let newest: LtxEntry | undefined
  for (const name of names) {
    const range = parseLtxName(name)
    if (range && (newest === undefined || isNewer(range, newest)))
      newest = { path: join(directory, name), name, ...range }
  }
  return newest
}

/** Whether the first of two LTX files leads further, or as far from further back. */
export function isNewer(a: TxidRange, b: TxidRange): boolean {
  return a.maxTxid > b.maxTxid || (a.maxTxid === b.maxTxid && a.minTxid < b.minTxid)
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0
}
