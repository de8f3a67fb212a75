// One database of a fake LiteFS node: a plain file, and LTX files of version 1 that are made by comparing it before and after.
import { readFile, writeFile } from 'node:fs/promises'
import type { LtxHeader } from '../../src/ltx/header.js'
import { encodeLtx, readLtx } from '../ltx/forge.js'
import { checksumFromScratch, sqlite } from '../system/judges.js'

export interface FakePosition {
  readonly txid: bigint
  readonly checksum: bigint
}

export const START: FakePosition = { txid: 0n, checksum: 0n }
/** sqlite.org/fileformat2.html, 1.3: the page size, of which 1 is 65536. */
const PAGE_SIZE_OFFSET = 16

interface Page {
  readonly pgno: number
  readonly data: Buffer
}

interface Stored {
  readonly header: LtxHeader
  readonly after: FakePosition
  readonly bytes: Buffer
}

export class FakeLitefsDatabase {
  readonly file: string
  position = START
  #pages: Buffer[] = []
  /** By its first transaction, as LiteFS finds them by their names. */
  readonly #stored = new Map<bigint, Stored>()

  constructor(file: string) {
    this.file = file
  }

  /** What SQL changes becomes one transaction of this node. */
  async execute(sql: string, nodeId: bigint): Promise<string> {
    const printed = await sqlite(this.file, sql)
    // The shell was the last to close it, so there is no WAL any more.
    const pages = pagesOf(await readFile(this.file))
    const changed = pages.flatMap((data, i) => (this.#pages[i]?.equals(data) ? [] : [{ pgno: i + 1, data }]))
    if (changed.length === 0 && pages.length === this.#pages.length) return printed
    const header = {
      ...this.#header(pages, nodeId),
      minTxid: this.position.txid + 1n,
      maxTxid: this.position.txid + 1n,
    }
    const after = { txid: header.maxTxid, checksum: BigInt(`0x${await checksumFromScratch(this.file)}`) }
    const preApplyChecksum = this.position.checksum
    this.#store(
      { ...header, preApplyChecksum },
      after,
      encode({ ...header, preApplyChecksum }, changed, after.checksum),
    )
    this.#pages = pages
    return printed
  }

  /** Applies what another node sent. Throws where that is not LTX version 1, does not follow, or is not what it promises. */
  async apply(bytes: Buffer, ownNodeId: bigint): Promise<void> {
    const { decoder, pages } = readLtx(bytes)
    const { header, version } = decoder
    if (version !== 1) throw new Error(`LiteFS cannot read LTX version ${version}`)
    if (header.nodeId === ownNodeId) return
    const isSnapshot = header.minTxid === 1n
    const { txid, checksum } = this.position
    if (!isSnapshot && (header.minTxid !== txid + 1n || header.preApplyChecksum !== checksum))
      throw new Error(`position mismatch: at ${txid}, sent what follows ${header.minTxid - 1n}`)
    await this.#write(header, pages, isSnapshot ? [] : this.#pages)
    const after = { txid: header.maxTxid, checksum: decoder.trailer.postApplyChecksum }
    if (isSnapshot) this.#stored.clear()
    this.#store(header, after, bytes)
    const found = BigInt(`0x${await checksumFromScratch(this.file)}`)
    if (found !== after.checksum) throw new Error(`database checksum ${found} is not ${after.checksum}`)
  }

  /** The next LTX file for a replica that stands there; undefined when it has everything. */
  next(at: FakePosition, nodeId: bigint): { readonly bytes: Buffer; readonly after: FakePosition } | undefined {
    const isKnown =
      at.txid < this.position.txid || (at.txid === this.position.txid && at.checksum === this.position.checksum)
    if (isKnown && at.txid === this.position.txid) return undefined
    const stored = isKnown && at.txid > 0n ? this.#stored.get(at.txid + 1n) : undefined
    if (stored !== undefined && stored.header.preApplyChecksum === at.checksum) return stored
    const header = {
      ...this.#header(this.#pages, nodeId),
      minTxid: 1n,
      maxTxid: this.position.txid,
      preApplyChecksum: 0n,
    }
    const pages = this.#pages.map((data, i) => ({ pgno: i + 1, data }))
    return { bytes: encode(header, pages, this.position.checksum), after: this.position }
  }

  async #write(header: LtxHeader, changed: readonly Page[], before: readonly Buffer[]): Promise<void> {
    const pages = Array.from({ length: header.commit }, (_, i) => before[i] ?? Buffer.alloc(header.pageSize))
    for (const { pgno, data } of changed) pages[pgno - 1] = data
    await writeFile(this.file, Buffer.concat(pages))
    this.#pages = pages
  }

  #store(header: LtxHeader, after: FakePosition, bytes: Buffer): void {
    this.#stored.set(header.minTxid, { header, after, bytes })
    this.position = after
  }

  #header(pages: readonly Buffer[], nodeId: bigint) {
    const from = { walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0 }
    return { ...from, flags: 0, pageSize: pages[0]?.length ?? 0, commit: pages.length, timestamp: Date.now(), nodeId }
  }
}

function encode(header: LtxHeader, pages: readonly Page[], postApply: bigint): Buffer {
  return encodeLtx(header, pages, postApply, { version: 1, compress: true })
}

function pagesOf(content: Buffer): Buffer[] {
  const stored = content.readUInt16BE(PAGE_SIZE_OFFSET)
  const pageSize = stored === 1 ? 65536 : stored
  const count = content.length / pageSize
  return Array.from({ length: count }, (_, i) => Buffer.from(content.subarray(i * pageSize, (i + 1) * pageSize)))
}
