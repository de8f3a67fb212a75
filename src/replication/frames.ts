/** Frame types of /stream, as LiteFS numbers them (client.go: StreamFrameType). */
export const FRAME_LTX = 1
export const FRAME_READY = 2
export const FRAME_END = 3
export const FRAME_DROP = 4
export const FRAME_HANDOFF = 5
export const FRAME_HIGH_WATER = 6
export const FRAME_HEARTBEAT = 7

/** Largest chunk of an LTX file on the stream, bytes: its length is a u16. */
export const MAX_CHUNK_BYTES = 0xffff

/** Everything on /stream but the chunks of an LTX file. */
export type Frame =
  /** The chunks of an LTX file of this database follow. */
  | { readonly type: 'ltx'; readonly name: string }
  /** Everything that the primary had when the stream began has been sent. */
  | { readonly type: 'ready' }
  /** The primary closes the stream on purpose. */
  | { readonly type: 'end' }
  /** Deprecated: a dropped database is an LTX file with commit 0. */
  | { readonly type: 'drop'; readonly name: string }
  /** The lease is this node's now. */
  | { readonly type: 'handoff'; readonly leaseId: string }
  /** What the backup has of this database. */
  | { readonly type: 'highWater'; readonly name: string; readonly txid: bigint }
  /** Nothing happened lately; the primary's clock, milliseconds since the epoch. Zero where the replica still lacks something. */
  | { readonly type: 'heartbeat'; readonly timestampMs: number }

/** The bytes of one frame: u32 type, then its fields. */
export function encodeFrame(frame: Frame): Buffer {
  switch (frame.type) {
    case 'ltx':
      // The size of a file that is sent in chunks is not known: zero.
      return Buffer.concat([u32(FRAME_LTX), u64(0n), text(frame.name)])
    case 'ready':
      return u32(FRAME_READY)
    case 'end':
      return u32(FRAME_END)
    case 'drop':
      return Buffer.concat([u32(FRAME_DROP), text(frame.name)])
    case 'handoff':
      return Buffer.concat([u32(FRAME_HANDOFF), text(frame.leaseId)])
    case 'highWater':
      return Buffer.concat([u32(FRAME_HIGH_WATER), u64(frame.txid), text(frame.name)])
    case 'heartbeat':
      return Buffer.concat([u32(FRAME_HEARTBEAT), u64(BigInt.asUintN(64, BigInt(frame.timestampMs)))])
  }
}

/** Cuts bytes of an LTX file into chunks: u16 length, bytes. Nothing becomes nothing, since an empty chunk ends the file. */
export function encodeChunks(data: Uint8Array): Buffer {
  const count = Math.ceil(data.length / MAX_CHUNK_BYTES)
  const bytes = Buffer.allocUnsafe(data.length + 2 * count)
  for (let i = 0; i < count; i++) {
    const chunk = data.subarray(i * MAX_CHUNK_BYTES, (i + 1) * MAX_CHUNK_BYTES)
    const at = i * (MAX_CHUNK_BYTES + 2)
    bytes.writeUInt16BE(chunk.length, at)
    bytes.set(chunk, at + 2)
  }
  return bytes
}

/** The chunk that ends an LTX file. */
export const END_OF_CHUNKS: Uint8Array = new Uint8Array(2)

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u32(bytes.length), bytes])
}
