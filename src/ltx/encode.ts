import { LtxEncoder, type LtxEncoderOptions } from './encoder.js'
import type { LtxHeader } from './header.js'

/** The buffer that files are put together in is kept for the next one up to this size, bytes. */
const KEPT_SIZE = 256 * 1024

let kept: Buffer | undefined

/**
 * A whole file in memory, for transactions: this is called at every commit. A snapshot belongs in LtxEncoder.
 * `pages` ascending. Throws LtxError.
 */
export function encodeLtx(
  header: LtxHeader,
  pages: Iterable<{ pgno: number; data: Uint8Array }>,
  postApplyChecksum: bigint,
  options: LtxEncoderOptions,
): Buffer {
  let file = kept ?? Buffer.allocUnsafeSlow(KEPT_SIZE)
  kept = undefined // while in use: `pages` may encode another file
  let size = 0
  const encoder = new LtxEncoder((chunk) => {
    const end = size + chunk.length
    if (end > file.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(file.length * 2, end))
      file.copy(larger, 0, 0, size)
      file = larger
    }
    file.set(chunk, size)
    size = end
  }, options)
  encoder.header(header)
  for (const page of pages) encoder.page(page.pgno, page.data)
  encoder.close(postApplyChecksum)
  if (file.length > KEPT_SIZE) return file.subarray(0, size)
  kept = file
  return Buffer.from(file.subarray(0, size))
}
