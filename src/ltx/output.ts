import { FileCrc } from './file-crc.js'

/** Takes the file's next bytes. They are valid until it returns. */
export type LtxSink = (chunk: Uint8Array) => void

/** The file being written: where its bytes go, how many they are, and its checksum. */
export class LtxOutput {
  readonly crc = new FileCrc()
  readonly #sink: LtxSink
  #size = 0

  constructor(sink: LtxSink) {
    this.#sink = sink
  }

  /** Bytes written so far: the file offset of the next one. */
  get size(): number {
    return this.#size
  }

  /** Writes bytes that the file checksum covers as they stand. */
  putHashed(bytes: Uint8Array): void {
    this.crc.update(bytes)
    this.put(bytes)
  }

  /** Writes bytes that it covers in another form, or not at all. */
  put(bytes: Uint8Array): void {
    this.#sink(bytes)
    this.#size += bytes.length
  }
}
