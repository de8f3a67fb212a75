import { formatTxid, type Position } from '../ltx/names.js'
import { ProtocolError } from './error.js'

/** A database whose writers wait while another node writes to it: what POST /halt answers. */
export interface HaltLock {
  /** Its holder's choice: a positive int64. */
  readonly id: bigint
  /** Where the database stands. */
  readonly position: Position
  /** Until when it is held, by the clock of the node that answers, milliseconds since the epoch. */
  readonly expiresMs: number
}

const MAX_ID = (1n << 63n) - 1n
/** As Go's encoding/json writes LiteFS' HaltLock; a number of 64 bits is more than JSON.parse can read. */
const HALT_LOCK =
  /^\s*\{\s*"id":\s*(\d{1,19}),\s*"pos":\s*\{\s*"TXID":\s*"([0-9a-f]{16})",\s*"PostApplyChecksum":\s*"([0-9a-f]{16})"\s*\},\s*"expires":\s*"([^"]{1,40})"\s*\}\s*$/

/** As LiteFS writes it. */
export function encodeHaltLock({ id, position, expiresMs }: HaltLock): string {
  const pos = { TXID: formatTxid(position.txid), PostApplyChecksum: formatTxid(position.checksum) }
  return `{"id":${id},"pos":${JSON.stringify(pos)},"expires":"${new Date(expiresMs).toISOString()}"}\n`
}

/** Throws ProtocolError when it is none. */
export function decodeHaltLock(text: string): HaltLock {
  const [, id = '', txid = '', checksum = '', expires = ''] = HALT_LOCK.exec(text) ?? []
  const expiresMs = Date.parse(expires)
  if (id === '' || Number.isNaN(expiresMs))
    throw new ProtocolError(`Cannot read halt lock: ${JSON.stringify(text.slice(0, 200))} is none`)
  return { id: BigInt(id), position: { txid: BigInt(`0x${txid}`), checksum: BigInt(`0x${checksum}`) }, expiresMs }
}

/** The id that a text says; undefined when it says none. 0 is none in LiteFS. */
export function parseHaltId(text: string): bigint | undefined {
  if (!/^\d{1,19}$/.test(text)) return undefined
  const id = BigInt(text)
  return id > 0n && id <= MAX_ID ? id : undefined
}
