import { strict as assert } from 'node:assert'
import { checkLink, checkTxids } from './chain.js'
import { lockPage } from './checksum.js'
import { LtxError } from './error.js'
import { FLAG_NO_CHECKSUM, isSnapshot, type LtxHeader, tracksChecksums } from './header.js'
import { formatTxid } from './names.js'
import { NumberHeap } from './number-heap.js'
import type { LtxReader, PageImage } from './page-block.js'

/** Most files that one merge takes: a page number and the place of a file fit into one exact number. */
const MAX_INPUTS = 65536
/** Most new pages that the files of a merge may leave out; each is written as zeros. The same bound as for applying a file. */
const MAX_ZERO_PAGES = 1 << 20

export interface LtxMergeOptions {
  /** Pages of the database before the first file, where that is known: pages that it lacks although the database grew by them are zeros, too. */
  readonly pagesBefore?: number
  /**
   * As in backups: files may repeat TXIDs of those before them, may differ in whether they track checksums (what they come to does not), and
   * must have every page by which the database grows.
   */
  readonly overlapping?: boolean
  /** Files in between are left out, whose pages others have: whoever chose them knows that they lead from one to the next. */
  readonly sparse?: boolean
  /** Most new pages without content; by default as many as for applying a file. */
  readonly maxZeroPages?: number
}

/**
 * What consecutive files come to as one: read it like a file. The newest content of each page, nothing that a later file cut off,
 * zeros for pages by which the database grew again without content; TXIDs and checksum before from the first file, checksum after, size and
 * timestamp from the last. Neither node nor WAL position, which a merged file does not have.
 * Holds what its inputs hold: a page and a read buffer each. All of each file is read and checked, and that each follows the other.
 */
export class LtxMerge implements LtxReader {
  readonly header: LtxHeader
  readonly #inputs: readonly LtxReader[]
  /** Per input: its pages above this number are cut off by a later file. */
  readonly #keeps: readonly number[]
  /** Pages up to here may still have their content from before the merged files. */
  readonly #floor: number
  readonly #overlapping: boolean
  readonly #sparse: boolean
  readonly #maxZeroPages: number
  #ended = false

  /** `inputs` in the order of their TXIDs, 1 to 65536. Throws LtxError when TXIDs do not follow each other. */
  constructor(inputs: readonly LtxReader[], options: LtxMergeOptions = {}) {
    const { pagesBefore, overlapping = false, sparse = false, maxZeroPages = MAX_ZERO_PAGES } = options
    assert(inputs.length <= MAX_INPUTS)
    const headers = inputs.map((input) => input.header)
    this.#inputs = inputs
    this.#overlapping = overlapping
    this.#sparse = sparse
    this.#maxZeroPages = overlapping ? 0 : maxZeroPages
    this.header = overlapping ? overlappingHeader(headers) : mergedHeader(headers, sparse)
    this.#keeps = keptPages(headers)
    const kept = Math.min(this.#keeps[0] ?? 0, pagesBefore ?? Number.POSITIVE_INFINITY)
    this.#floor = isSnapshot(this.header) ? 0 : kept
  }

  get trailer(): { readonly postApplyChecksum: bigint } {
    assert(this.#ended, 'the trailer follows the pages')
    if (this.#overlapping) return { postApplyChecksum: 0n }
    return { postApplyChecksum: this.#inputs.at(-1)?.trailer.postApplyChecksum ?? 0n }
  }

  *pages(): Generator<PageImage, void> {
    const zeros = new ZeroPages(this.header, this.#floor, this.#maxZeroPages)
    for (const page of this.#newestPages()) {
      yield* zeros.before(page.pgno)
      yield page
    }
    yield* zeros.before(this.header.commit + 1)
    if (!this.#overlapping && !this.#sparse) this.#checkLinks()
    this.#ended = true
  }

  *#newestPages(): Generator<PageImage, void> {
    const runs = this.#inputs.map((input) => input.pages())
    const current: (PageImage | undefined)[] = []
    const order = new NumberHeap()
    const advance = (i: number) => {
      const result = runs[i]?.next()
      current[i] = result?.value ?? undefined
      const page = current[i]
      if (page !== undefined) order.push(orderOf(page.pgno, i))
    }
    for (let i = 0; i < runs.length; i++) advance(i)
    let last = 0
    for (let first = order.first; first !== undefined; first = order.first) {
      const i = inputOf(first)
      const page = current[i]
      assert(page)
      if (page.pgno !== last && page.pgno <= (this.#keeps[i] ?? 0)) yield page
      last = page.pgno
      order.pop()
      advance(i)
    }
  }

  #checkLinks(): void {
    for (const [i, input] of this.#inputs.entries()) {
      const previous = this.#inputs[i - 1]
      if (previous) checkLink(previous, input)
    }
  }
}

/** Ascending by page number, and of one page the newest file first. */
function orderOf(pgno: number, input: number): number {
  return pgno * MAX_INPUTS + (MAX_INPUTS - 1 - input)
}

function inputOf(order: number): number {
  return MAX_INPUTS - 1 - (order % MAX_INPUTS)
}

function mergedHeader(headers: readonly LtxHeader[], sparse: boolean): LtxHeader {
  const [first] = headers
  const last = headers.at(-1)
  if (first === undefined || last === undefined) throw new LtxError('Cannot merge LTX files: there are none')
  let previous: LtxHeader | undefined
  for (const header of headers) {
    if (previous && !sparse) checkTxids(previous, header)
    if (tracksChecksums(header) !== tracksChecksums(first)) {
      const txid = formatTxid(header.minTxid)
      throw new LtxError(
        `Cannot merge LTX files: that of TXID ${txid} and the first differ in whether checksums are kept`,
      )
    }
    previous = header
  }
  return spanningHeader(first, last)
}

function overlappingHeader(headers: readonly LtxHeader[]): LtxHeader {
  const [first] = headers
  const last = headers.at(-1)
  if (first === undefined || last === undefined) throw new LtxError('Cannot merge LTX files: there are none')
  let previous: LtxHeader | undefined
  for (const header of headers) {
    if (previous && header.minTxid > previous.maxTxid + 1n) checkTxids(previous, header)
    if (previous && header.maxTxid <= previous.maxTxid) {
      throw new LtxError(
        `Cannot merge LTX files: that of TXID ${formatTxid(header.maxTxid)} ends before the one before it`,
      )
    }
    previous = header
  }
  return { ...spanningHeader(first, last), flags: FLAG_NO_CHECKSUM, preApplyChecksum: 0n }
}

function spanningHeader({ sourcePosition: _, ...first }: LtxHeader, last: LtxHeader): LtxHeader {
  return {
    ...first,
    ...(last.sourcePosition && { sourcePosition: last.sourcePosition }),
    flags: first.flags & FLAG_NO_CHECKSUM,
    pageSize: last.pageSize,
    commit: last.commit,
    maxTxid: last.maxTxid,
    timestamp: last.timestamp,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  }
}

/** A file of another page size than the one before it carries the whole database: nothing older counts. */
function keptPages(headers: readonly LtxHeader[]): number[] {
  const keeps: number[] = []
  let keep = Number.POSITIVE_INFINITY
  for (let i = headers.length - 1; i >= 0; i--) {
    const header = headers[i]
    assert(header)
    keep = Math.min(keep, header.commit)
    keeps[i] = keep
    if (headers[i - 1]?.pageSize !== header.pageSize) keep = 0
  }
  return keeps
}

/** Pages above `floor` that no file has, although the database grew over them: SQLite had freed them before it wrote them. */
class ZeroPages {
  readonly #page: Buffer
  readonly #lockPage: number
  readonly #limit: number
  #next: number
  #count = 0

  constructor(header: LtxHeader, floor: number, limit: number) {
    this.#limit = limit
    this.#page = Buffer.alloc(header.pageSize)
    this.#lockPage = lockPage(header.pageSize)
    this.#next = floor + 1
  }

  /** Those missing up to `pgno`, which itself is there. */
  *before(pgno: number): Generator<PageImage, void> {
    for (; this.#next < pgno; this.#next++) {
      if (this.#next === this.#lockPage) continue
      if (++this.#count > this.#limit) {
        throw new LtxError(
          `Cannot merge LTX files: they grow the database and lack page ${this.#next}${this.#limit > 0 ? ' and many others' : ''}`,
        )
      }
      yield { pgno: this.#next, data: this.#page }
    }
    if (this.#next === pgno) this.#next++
  }
}
