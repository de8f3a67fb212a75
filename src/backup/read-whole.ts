import { setImmediate } from 'node:timers/promises'
import { checksumFromHalves } from '../ltx/checksum.js'
import { LtxError } from '../ltx/error.js'
import { formatTxid } from '../ltx/names.js'
import type { LtxReader, PageImage } from '../ltx/page-block.js'
import { pageChecksum } from '../native.js'

/** Bytes read between two turns of the event loop. */
const BYTES_PER_TURN = 4 << 20

/** The pages of a whole database. Throws LtxError after the last one when they do not come to this checksum; any does where it is undefined. */
export function* checkedPages(reader: LtxReader, wanted: bigint | undefined): Generator<PageImage, void> {
  const sum = new Uint32Array(2)
  const one = new Uint32Array(2)
  for (const page of reader.pages()) {
    pageChecksum(one, 0, page.pgno, page.data, 0, page.data.length)
    sum[0] = (sum[0] ?? 0) ^ (one[0] ?? 0)
    sum[1] = (sum[1] ?? 0) ^ (one[1] ?? 0)
    yield page
  }
  const checksum = checksumFromHalves(sum[0] ?? 0, sum[1] ?? 0)
  if (wanted === undefined || checksum === wanted) return
  throw new LtxError(`the database's checksum was ${formatTxid(wanted)} and would be ${formatTxid(checksum)}`)
}

/** Reads them for the check alone, while other work goes on. */
export async function readWhole(reader: LtxReader, wanted: bigint | undefined): Promise<void> {
  let left = BYTES_PER_TURN
  for (const { data } of checkedPages(reader, wanted)) {
    left -= data.length
    if (left > 0) continue
    left = BYTES_PER_TURN
    await setImmediate()
  }
}
