import { Lz4FrameWriter } from './lz4-frame-writer.js'
import type { LtxOutput } from './output.js'
import type { PageWriter } from './page-block.js'
import { PAGE_HEADER_SIZE } from './pages-v1.js'

/** Pages of version 1, as LiteFS reads them: raw, or all of them in one LZ4 frame. Holds 64 KiB of the frame. */
export class PageWriterV1 implements PageWriter {
  readonly #output: LtxOutput
  readonly #frame: Lz4FrameWriter | undefined
  readonly #pageHeader = Buffer.alloc(PAGE_HEADER_SIZE)

  constructor(output: LtxOutput, compress: boolean) {
    this.#output = output
    this.#frame = compress ? new Lz4FrameWriter((bytes) => output.put(bytes)) : undefined
  }

  page(pgno: number, data: Uint8Array): void {
    this.#pageHeader.writeUInt32BE(pgno, 0)
    this.#put(this.#pageHeader)
    this.#put(data)
  }

  end(): void {
    this.#put(Buffer.alloc(PAGE_HEADER_SIZE))
    this.#frame?.end()
  }

  #put(bytes: Uint8Array): void {
    this.#output.crc.update(bytes)
    if (this.#frame === undefined) this.#output.put(bytes)
    else this.#frame.write(bytes)
  }
}
