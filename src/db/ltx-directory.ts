import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { LtxError } from '../ltx/error.js'
import type { LtxHeader } from '../ltx/header.js'
import { formatTxid, parseLtxName } from '../ltx/names.js'
import type { LtxTrailer } from '../ltx/trailer.js'

/** An LTX file by its name. */
export interface LtxEntry {
  path: string
  name: string
  minTxid: bigint
  maxTxid: bigint
}

/** A file as a link of a chain: what it needs and what it leaves. */
export interface ChainLink {
  header: LtxHeader
  trailer: LtxTrailer
}

/** The LTX files of a directory in TXID order. Other names (temporary files) are passed over; no file is opened. */
export function listLtxDirectory(directory: string): LtxEntry[] {
  const entries: LtxEntry[] = []
  for (const name of readdirSync(directory)) {
    const range = parseLtxName(name)
    if (range) entries.push({ path: join(directory, name), name, ...range })
  }
  return entries.sort((a, b) => compare(a.minTxid, b.minTxid) || compare(a.maxTxid, b.maxTxid))
}

/** Checks that `next` starts where `previous` ended, in TXID and in checksum. Throws LtxError. */
export function checkLink(previous: ChainLink, next: ChainLink): void {
  const expected = previous.header.maxTxid + 1n
  if (next.header.minTxid !== expected) {
    const found = formatTxid(next.header.minTxid)
    throw new LtxError(
      `Broken LTX chain: TXID ${formatTxid(expected)} should come next, the next file starts at ${found}`,
    )
  }
  if (next.header.preApplyChecksum !== previous.trailer.postApplyChecksum) {
    const before = formatTxid(previous.trailer.postApplyChecksum)
    const after = formatTxid(next.header.preApplyChecksum)
    const txid = formatTxid(next.header.minTxid)
    throw new LtxError(
      `Broken LTX chain: the database's checksum is ${before} where the file of TXID ${txid} needs ${after}`,
    )
  }
}

/** checkLink over all neighbours. Throws LtxError. */
export function checkChain(links: readonly ChainLink[]): void {
  let previous: ChainLink | undefined
  for (const link of links) {
    if (previous) checkLink(previous, link)
    previous = link
  }
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0
}
