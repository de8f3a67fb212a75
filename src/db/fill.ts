import { setImmediate as turn } from 'node:timers/promises'
import { lockPage } from '../ltx/checksum.js'
import { pageChecksum } from '../native.js'
import type { BackingFile } from './backing-file.js'
import type { Database } from './database.js'
import { type LtxBody, openLtx } from './ltx-body.js'
import { type Change, FLAG_HI, type PageState } from './page-state.js'
import { PageWriter } from './page-writer.js'

/** How long others wait for their turn, milliseconds. */
const TURN_MS = 2

/**
 * Brings what was announced to a database that nobody has open: its pages go straight to the database file, without a log or a
 * journal, since the LTX file is on the disk before, and the next start applies it again where they are not. Whoever opens the database
 * meanwhile waits. Others have their turns meanwhile.
 *
 * Resolves to false, and nothing has happened, where a writer like any other has to do it. Rejects when the file is not what was announced,
 * and when it cannot be stored: then nothing has happened either. When pages cannot be written it rejects, and nobody can open the database any
 * more before the next start. `written` is called when the pages have changed, and what it resolves is waited for.
 */
export async function overtake(database: Database, written: () => Promise<void>): Promise<boolean> {
  const { committer, files } = database
  const { announced } = committer.reception
  if (announced === undefined || announced.pageCount === 0) return false
  if (committer.forwarding.active || !database.unused) return false
  // What a snapshot replaces has LTX files of its own until it is there, which may be newer: the next start would go by them.
  if (announced.minTxid === 1n && committer.state.txid > 0n) return false
  const change = await changeOf(announced.body, committer.state)
  if (change === undefined) return false
  committer.reception.checkPromise(change)
  if (!database.unused) return false
  const stored = committer.storeAhead()
  const file = files.acquire('database')
  try {
    await files.shutWhile(async () => {
      await writePages(announced.body, file)
      committer.overtaken(stored, { ...change, txid: announced.maxTxid })
      database.overtaken()
      await written()
    })
  } finally {
    files.release('database', file)
  }
  return true
}

/** Tells when others want their turn. */
class Turns {
  #sinceMs = performance.now()

  get isOver(): boolean {
    return performance.now() - this.#sinceMs > TURN_MS
  }

  async next(): Promise<void> {
    await turn()
    this.#sinceMs = performance.now()
  }
}

/** Pages and their checksums, as many as come. */
class PageSums {
  #pgnos = new Uint32Array(1024)
  #sums = new Uint32Array(2048)
  #count = 0

  /** Returns where the page's checksum is in `sums`. */
  add(pgno: number, page: Uint8Array): number {
    if (this.#count === this.#pgnos.length) this.#grow()
    this.#pgnos[this.#count] = pgno
    pageChecksum(this.#sums, this.#count, pgno, page, 0, page.length)
    return 2 * this.#count++
  }

  get pgnos(): Uint32Array {
    return this.#pgnos.subarray(0, this.#count)
  }

  /** Pairs (high, low), one for each page. */
  get sums(): Uint32Array {
    return this.#sums.subarray(0, 2 * this.#count)
  }

  #grow(): void {
    const pgnos = new Uint32Array(2 * this.#pgnos.length)
    const sums = new Uint32Array(2 * this.#sums.length)
    pgnos.set(this.#pgnos)
    sums.set(this.#sums)
    this.#pgnos = pgnos
    this.#sums = sums
  }
}

/** What the file makes of the database. Undefined when it changes the page size, or lacks pages by which the database grows. */
async function changeOf(body: LtxBody, state: PageState): Promise<Change | undefined> {
  const { reader, close } = openLtx(body)
  try {
    const { pageSize, commit, maxTxid } = reader.header
    if (state.pageCount > 0 && pageSize !== state.pageSize) return undefined
    const turns = new Turns()
    const pages = new PageSums()
    const old = new Uint32Array(2)
    let { hi, lo } = state
    const exchange = (pgno: number, newHi: number, newLo: number) => {
      state.checksums.get(pgno, old, 0)
      hi ^= (old[0] ?? 0) ^ newHi
      lo ^= (old[1] ?? 0) ^ newLo
    }
    let grown = 0
    for (const { pgno, data } of reader.pages()) {
      const at = pages.add(pgno, data)
      const { sums } = pages
      if (pgno > state.pageCount) grown++
      exchange(pgno, sums[at] ?? 0, sums[at + 1] ?? 0)
      if (turns.isOver) await turns.next()
    }
    if (grown < growthOf(state.pageCount, commit, pageSize)) return undefined
    for (let pgno = commit + 1; pgno <= state.pageCount; pgno++) exchange(pgno, 0, 0)
    return {
      pageSize,
      pageCount: commit,
      txid: maxTxid,
      hi: (hi | FLAG_HI) >>> 0,
      lo: lo >>> 0,
      pgnos: pages.pgnos,
      sums: pages.sums,
    }
  } finally {
    close()
  }
}

/** Pages that come to the database, without the lock page. */
function growthOf(before: number, after: number, pageSize: number): number {
  const lock = lockPage(pageSize)
  return Math.max(0, after - before - (lock > before && lock <= after ? 1 : 0))
}

async function writePages(body: LtxBody, file: BackingFile): Promise<void> {
  const { reader, close } = openLtx(body)
  try {
    const { pageSize, commit } = reader.header
    const turns = new Turns()
    const writer = new PageWriter((bytes, offset) => file.write(bytes, offset), pageSize, commit)
    for (const { pgno, data } of reader.pages()) {
      writer.add(pgno, data)
      if (turns.isOver) await turns.next()
    }
    writer.flush()
    if (file.size() !== commit * pageSize) file.truncate(commit * pageSize)
  } finally {
    close()
  }
}
