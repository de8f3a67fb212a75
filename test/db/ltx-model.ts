import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CHECKSUM_FLAG, checksumFromHalves } from '../../src/ltx/checksum.js'
import type { LtxHeader } from '../../src/ltx/header.js'
import { formatLtxName } from '../../src/ltx/names.js'
import { pageChecksum } from '../../src/native.js'
import { CHANGE, encodeLtx } from '../ltx/forge.js'

/** A database in memory, and LTX files of what is done to it. */
export class Model {
  readonly paths: string[] = []
  readonly #dir: string
  pageSize = 512
  bytes = Buffer.alloc(0)
  txid = 0n

  constructor(dir: string) {
    this.#dir = dir
  }

  checksum(): bigint {
    const out = new Uint32Array(2)
    let [hi, lo] = [0, 0]
    for (let pgno = 1; pgno <= this.bytes.length / this.pageSize; pgno++) {
      pageChecksum(out, 0, pgno, this.bytes, (pgno - 1) * this.pageSize, pgno * this.pageSize)
      hi ^= out[0] ?? 0
      lo ^= out[1] ?? 0
    }
    return this.bytes.length === 0 ? CHECKSUM_FLAG : checksumFromHalves(hi, lo)
  }

  /** Makes the database `bytes` and writes the file of the pages `pgnos` (all that exist by default). */
  commit(bytes: Buffer, pageSize = this.pageSize, pgnos?: number[], change: Partial<LtxHeader> = {}): string {
    const before = this.checksum()
    Object.assign(this, { bytes, pageSize })
    this.txid++
    const commit = bytes.length / pageSize
    const all = Array.from({ length: commit }, (_, i) => i + 1)
    const pages = (pgnos ?? all).map((pgno) => ({ pgno, data: bytes.subarray((pgno - 1) * pageSize, pgno * pageSize) }))
    const txids = { minTxid: this.txid, maxTxid: this.txid }
    const preApplyChecksum = this.txid === 1n ? 0n : before
    const header = { ...CHANGE, pageSize, commit, ...txids, preApplyChecksum, ...change }
    const path = join(this.#dir, formatLtxName(header.minTxid, header.maxTxid))
    writeFileSync(path, encodeLtx(header, pages, this.checksum(), { compress: false }))
    this.paths.push(path)
    return path
  }
}

/** So many pages of noise. */
export function pagesOf(random: (below: number) => number, pages: number, pageSize = 512): Buffer {
  return Buffer.from(Array.from({ length: pages * pageSize }, () => random(256)))
}
