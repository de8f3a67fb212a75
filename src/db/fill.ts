import { setImmediate as turn } from 'node:timers/promises'
import { pageChecksum } from '../native.js'
import type { BackingFile } from './backing-file.js'
import type { Database } from './database.js'
import { type LtxBody, readLtxSlowly } from './ltx-body.js'
import { type Change, FLAG_HI } from './page-state.js'
import { PageWriter } from './page-writer.js'

/** How long others wait for their turn, milliseconds. */
const TURN_MS = 2

/**
 * Brings what was announced to a database that is not there yet, and that nobody has open: its pages go straight to the database file, without
 * a log or a journal, since the LTX file is on the disk before, and the next start applies it again where they are not. Nobody can have
 * cached anything of it. Whoever opens the database meanwhile waits. Others have their turns meanwhile.
 *
 * Resolves to false, and nothing has happened, where a writer like any other has to do it. Rejects when the file is not what was announced,
 * and when it cannot be stored or written: then the database is as empty as before. `changed` is called when the pages have changed, and what
 * it resolves is waited for.
 */
export async function fill(database: Database, changed: () => Promise<void>): Promise<boolean> {
  const { committer, files } = database
  const { announced } = committer.reception
  if (announced === undefined || announced.pageCount === 0 || committer.state.txid > 0n) return false
  if (committer.forwarding.active || !database.unused || files.size('database') > 0) return false
  const stored = committer.storeAhead()
  const file = files.acquire('database')
  let failure: unknown
  try {
    await files.shutWhile(async () => {
      try {
        const change = await writePages(announced.body, file)
        committer.reception.checkPromise(change)
        committer.filled(stored, change)
        database.filled()
      } catch (error) {
        failure = error
        // What is there without its pages must not be found by the next start.
        file.truncate(0)
        committer.withdraw(stored)
      }
      await changed()
    })
  } finally {
    files.release('database', file)
  }
  if (failure !== undefined) throw failure
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

/** Pages, as many as come, each with its checksum. */
class PageSums {
  #pgnos = new Uint32Array(1024)
  #sums = new Uint32Array(2048)
  #count = 0
  #hi = 0
  #lo = 0

  add(pgno: number, page: Uint8Array): void {
    if (this.#count === this.#pgnos.length) this.#grow()
    this.#pgnos[this.#count] = pgno
    pageChecksum(this.#sums, this.#count, pgno, page, 0, page.length)
    this.#hi ^= this.#sums[2 * this.#count] ?? 0
    this.#lo ^= this.#sums[2 * this.#count + 1] ?? 0
    this.#count++
  }

  /** What they are the whole of. */
  get change(): Pick<Change, 'hi' | 'lo' | 'pgnos' | 'sums'> {
    return {
      hi: (this.#hi | FLAG_HI) >>> 0,
      lo: this.#lo >>> 0,
      pgnos: this.#pgnos.subarray(0, this.#count),
      sums: this.#sums.subarray(0, 2 * this.#count),
    }
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

/** Writes the pages of a snapshot, and gives what they make of a database without any. Throws a system error, or LtxError when one is missing. */
function writePages(body: LtxBody, file: BackingFile): Promise<Change> {
  return readLtxSlowly(body, async (reader) => {
    const { pageSize, commit, maxTxid } = reader.header
    const turns = new Turns()
    const writer = new PageWriter((bytes, offset) => file.write(bytes, offset), pageSize, commit)
    const sums = new PageSums()
    for (const { pgno, data } of reader.pages()) {
      sums.add(pgno, data)
      writer.add(pgno, data)
      if (turns.isOver) await turns.next()
    }
    writer.flush()
    return { pageSize, pageCount: commit, txid: maxTxid, ...sums.change }
  })
}
