import { LtxError } from './error.js'
import type { LtxHeader } from './header.js'
import { formatTxid } from './names.js'

/** A file as a link of a chain: what it needs and what it leaves. */
export interface ChainLink {
  readonly header: LtxHeader
  readonly trailer: { readonly postApplyChecksum: bigint }
}

/** Checks that `next` starts at the TXID after `previous`. Throws LtxError. */
export function checkTxids(previous: LtxHeader, next: LtxHeader): void {
  const expected = previous.maxTxid + 1n
  if (next.minTxid === expected) return
  const found = formatTxid(next.minTxid)
  throw new LtxError(
    `Broken LTX chain: TXID ${formatTxid(expected)} should come next, the next file starts at ${found}`,
  )
}

/** Checks that `next` starts where `previous` ended, in TXID and in checksum. Throws LtxError. */
export function checkLink(previous: ChainLink, next: ChainLink): void {
  checkTxids(previous.header, next.header)
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
