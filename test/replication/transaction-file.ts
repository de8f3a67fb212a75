import { CHECKSUM_FLAG } from '../../src/ltx/checksum.js'
import { LtxEncoder } from '../../src/ltx/encoder.js'

/** The checksum of the database after a transaction. */
export function checksumAfter(txid: bigint): bigint {
  return CHECKSUM_FLAG | txid
}

/** An LTX file of one page. */
export function transactionFile(txid: bigint): Buffer {
  const chunks: Buffer[] = []
  const encoder = new LtxEncoder((chunk) => chunks.push(Buffer.from(chunk)), { version: 3, compress: false })
  const numbers = { timestamp: 1, walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0, nodeId: 1n }
  const preApplyChecksum = checksumAfter(txid - 1n)
  encoder.header({ ...numbers, flags: 0, pageSize: 512, commit: 9, minTxid: txid, maxTxid: txid, preApplyChecksum })
  encoder.page(9, Buffer.alloc(512))
  encoder.close(checksumAfter(txid))
  return Buffer.concat(chunks)
}
