import { LtxError } from './error.js'

const HEX64 = /^[0-9a-f]{16}$/
const LTX_NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/

/** Where a database stands: its last transaction and its checksum after it. */
export interface Position {
  txid: bigint
  checksum: bigint
}

/** 16 lower-case hex digits. Checksums are written the same way. */
export function formatTxid(txid: bigint): string {
  return txid.toString(16).padStart(16, '0')
}

/** Inverse of formatTxid. Throws LtxError. */
export function parseTxid(text: string): bigint {
  if (!HEX64.test(text))
    throw new LtxError(`Cannot parse TXID ${JSON.stringify(text)}: it is not 16 lower-case hex digits`)
  return BigInt(`0x${text}`)
}

/** File name of the transactions `minTxid` to `maxTxid`: `0000000000000001-000000000000000a.ltx`. */
export function formatLtxName(minTxid: bigint, maxTxid: bigint): string {
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`
}

/** The range in a file name without directory; undefined when it is no LTX name (1 <= min <= max included). */
export function parseLtxName(name: string): { minTxid: bigint; maxTxid: bigint } | undefined {
  const match = LTX_NAME.exec(name)
  if (!match) return undefined
  const minTxid = BigInt(`0x${match[1]}`)
  const maxTxid = BigInt(`0x${match[2]}`)
  return minTxid >= 1n && minTxid <= maxTxid ? { minTxid, maxTxid } : undefined
}

/** LiteFS' position string: TXID, slash, checksum, 16 hex digits each. */
export function formatPosition(position: Position): string {
  return `${formatTxid(position.txid)}/${formatTxid(position.checksum)}`
}

/** Inverse of formatPosition. Throws LtxError. */
export function parsePosition(text: string): Position {
  const [txid, checksum, rest] = text.split('/')
  if (
    txid === undefined ||
    checksum === undefined ||
    rest !== undefined ||
    !HEX64.test(txid) ||
    !HEX64.test(checksum)
  ) {
    throw new LtxError(`Cannot parse position ${JSON.stringify(text)}: it is not TXID/CHECKSUM in hex`)
  }
  return { txid: BigInt(`0x${txid}`), checksum: BigInt(`0x${checksum}`) }
}
