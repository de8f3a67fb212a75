import { ProtocolError } from './error.js'
import {
  FRAME_DROP,
  FRAME_END,
  FRAME_HANDOFF,
  FRAME_HEARTBEAT,
  FRAME_HIGH_WATER,
  FRAME_LTX,
  FRAME_READY,
  type Frame,
} from './frames.js'
import { decodeName, decodeText, textSize, WireReader } from './wire.js'

/** What a stream consists of: frames, and after an LTX frame the bytes of its file. */
export type StreamItem =
  | Frame
  /** The next bytes of the file, however its chunks are cut; a view that is valid until the next item is asked for. */
  | { readonly type: 'data'; readonly bytes: Buffer }
  /** The file is complete. */
  | { readonly type: 'dataEnd' }

const TYPE_SIZE = 4

/**
 * Takes a stream apart as its bytes arrive, however they are cut. Holds less than one frame. Names are checked. What one LTX file may weigh
 * is not known here: the caller counts.
 */
export class FrameDecoder {
  readonly #reader = new WireReader()
  #inFile = false
  /** Bytes of the chunk that have not arrived yet. */
  #chunkRest = 0
  #ended = false

  /** Whether the bytes so far end where a frame ends: otherwise a connection that closes here was cut. */
  get atFrameEnd(): boolean {
    return !this.#inFile && this.#reader.available === 0
  }

  /** What these bytes complete. Throws ProtocolError; the decoder is unusable then. */
  *push(bytes: Uint8Array): Generator<StreamItem, void> {
    this.#reader.push(bytes)
    for (;;) {
      const item = this.#inFile ? this.#nextChunk() : this.#nextFrame()
      if (item === undefined) return
      if (item.type === 'ltx') this.#inFile = true
      else if (item.type === 'dataEnd') this.#inFile = false
      yield item
    }
  }

  #nextChunk(): StreamItem | undefined {
    if (this.#chunkRest === 0) {
      const length = this.#reader.take(2)?.readUInt16BE(0)
      if (length === undefined) return undefined
      if (length === 0) return { type: 'dataEnd' }
      this.#chunkRest = length
    }
    const bytes = this.#reader.take(Math.min(this.#chunkRest, this.#reader.available))
    if (bytes === undefined || bytes.length === 0) return undefined
    this.#chunkRest -= bytes.length
    return { type: 'data', bytes }
  }

  #nextFrame(): Frame | undefined {
    const type = this.#reader.peek(0, TYPE_SIZE)?.readUInt32BE(0)
    if (type === undefined) return undefined
    if (this.#ended) throw new ProtocolError('Cannot read stream: a frame follows its end frame')
    switch (type) {
      case FRAME_LTX:
        return this.#take(8, 'database name', (_, text) => ({ type: 'ltx', name: decodeName(text) }))
      case FRAME_READY:
        return this.#take(0, undefined, () => ({ type: 'ready' }))
      case FRAME_END:
        this.#ended = true
        return this.#take(0, undefined, () => ({ type: 'end' }))
      case FRAME_DROP:
        return this.#take(0, 'database name', (_, text) => ({ type: 'drop', name: decodeName(text) }))
      case FRAME_HANDOFF:
        return this.#take(0, 'lease id', (_, text) => ({ type: 'handoff', leaseId: decodeText(text, 'lease id') }))
      case FRAME_HIGH_WATER:
        return this.#take(8, 'database name', (fixed, text) => {
          return { type: 'highWater', txid: fixed.readBigUInt64BE(0), name: decodeName(text) }
        })
      case FRAME_HEARTBEAT:
        return this.#take(8, undefined, (fixed) => ({ type: 'heartbeat', timestampMs: decodeTime(fixed) }))
      default:
        throw new ProtocolError(`Cannot read stream: there is no frame type ${type}`)
    }
  }

  /** Takes a frame of `fixedSize` bytes after its type and, where `textName` tells what it is, a text; undefined when not all has arrived. */
  #take(
    fixedSize: number,
    textName: string | undefined,
    decode: (fixed: Buffer, text: Buffer) => Frame,
  ): Frame | undefined {
    const start = TYPE_SIZE + fixedSize
    const length = textName === undefined ? 0 : textSize(this.#reader, start, textName)
    const frame = length === undefined ? undefined : this.#reader.take(start + length)
    return frame === undefined ? undefined : decode(frame.subarray(TYPE_SIZE, start), frame.subarray(start + 4))
  }
}

function decodeTime(bytes: Buffer): number {
  const timestampMs = Number(bytes.readBigInt64BE(0))
  if (!Number.isSafeInteger(timestampMs)) throw new ProtocolError('Cannot read heartbeat: its time is out of range')
  return timestampMs
}
