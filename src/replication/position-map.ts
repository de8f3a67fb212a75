import type { Position } from '../ltx/names.js'
import { ProtocolError } from './error.js'
import { decodeName, textSize, WireReader } from './wire.js'

/** Where a replica stands with each of its databases. */
export type PositionMap = ReadonlyMap<string, Position>

/** Bytes of a position map on the wire: enough for 100,000 databases with names of 140 bytes. */
export const MAX_POSITION_MAP_BYTES = 16 << 20
/** u64 TXID, u64 checksum. */
const POSITION_SIZE = 16

/**
 * The body of a request to /stream: u32 count; for each database, sorted by its name's bytes, u32 length, name, u64 TXID, u64 checksum.
 */
export function encodePositionMap(positions: PositionMap): Buffer {
  const entries = [...positions].map(([name, position]) => ({ name: Buffer.from(name), position }))
  entries.sort((a, b) => Buffer.compare(a.name, b.name))
  const parts = [u32(entries.length)]
  for (const { name, position } of entries) {
    const numbers = Buffer.alloc(POSITION_SIZE)
    numbers.writeBigUInt64BE(position.txid, 0)
    numbers.writeBigUInt64BE(position.checksum, 8)
    parts.push(u32(name.length), name, numbers)
  }
  return Buffer.concat(parts)
}

/** Inverse of encodePositionMap, in any order. Throws ProtocolError. */
export function decodePositionMap(body: Uint8Array): Map<string, Position> {
  const reader = new WireReader()
  reader.push(body)
  const count = reader.take(4)?.readUInt32BE(0)
  if (count === undefined) throw truncated()
  const positions = new Map<string, Position>()
  for (let i = 0; i < count; i++) {
    const size = textSize(reader, 0, 'database name')
    const entry = size === undefined ? undefined : reader.take(size + POSITION_SIZE)
    if (size === undefined || entry === undefined) throw truncated()
    const name = decodeName(entry.subarray(4, size))
    if (positions.has(name)) throw new ProtocolError(`Cannot read position map: it has ${JSON.stringify(name)} twice`)
    positions.set(name, { txid: entry.readBigUInt64BE(size), checksum: entry.readBigUInt64BE(size + 8) })
  }
  if (reader.available > 0) throw new ProtocolError('Cannot read position map: data follows its last entry')
  return positions
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function truncated(): ProtocolError {
  return new ProtocolError('Cannot read position map: it ends before its last entry')
}
