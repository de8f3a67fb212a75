// Transactions as a primary makes them: SQLite's own, as LTX files of the pages that each has changed.
import Database from 'better-sqlite3'
import { checksumFromHalves, lockPage } from '../../src/ltx/checksum.js'
import { formatTxid } from '../../src/ltx/names.js'
import { pageChecksum } from '../../src/native.js'
import { CHANGE, encodeLtx } from '../ltx/forge.js'

export const ACCOUNTS = 100
export const TOTAL = ACCOUNTS * 1000

/** A database whose every commit becomes an LTX file. */
export class Primary {
  readonly db: Database.Database
  txid = 0n
  /** The database after the last transaction. */
  image = Buffer.alloc(0)
  pageSize = 0
  #sums: bigint[] = []
  #checksum = 1n << 63n
  #moves = 0

  constructor(file: string, pragmas: string[]) {
    this.db = new Database(file)
    for (const pragma of pragmas) this.db.pragma(pragma)
  }

  get checksum(): bigint {
    return this.#checksum
  }

  /** The accounts that readers add up, and a log that grows. */
  createAccounts(): Buffer {
    return this.run(() => {
      this.db.exec(`CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, note BLOB);
        CREATE TABLE move (seq INTEGER PRIMARY KEY, amount INTEGER)`)
      const insert = this.db.prepare('INSERT INTO account VALUES (?, 1000, zeroblob(150))')
      for (let id = 1; id <= ACCOUNTS; id++) insert.run(id)
    })
  }

  /** Moves money between two accounts: the sum stays. */
  move(): Buffer {
    const seq = ++this.#moves
    return this.run(() => {
      const amount = (seq % 7) + 1
      const update = this.db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?')
      update.run(-amount, ((seq * 17) % ACCOUNTS) + 1)
      update.run(amount, ((seq * 31) % ACCOUNTS) + 1)
      this.db.prepare('INSERT INTO move VALUES (?, ?)').run(seq, amount)
    })
  }

  /** Runs `work` in one transaction. */
  run(work: () => void): Buffer {
    this.db.transaction(work)()
    return this.capture()
  }

  /** One file of everything since the last one; `count` transactions, of which the file carries the last. */
  capture(count = 1): Buffer {
    const { image: before, pageSize: oldPageSize } = this
    const image = this.db.serialize()
    const pageSize = image.readUInt16BE(16) === 1 ? 65536 : image.readUInt16BE(16)
    const minTxid = this.txid + 1n
    this.txid += BigInt(count)
    const whole = minTxid === 1n || pageSize !== oldPageSize || before.length === 0
    const pages: { pgno: number; data: Buffer }[] = []
    const commit = image.length / pageSize
    for (let pgno = 1; pgno <= commit; pgno++) {
      const range = [(pgno - 1) * pageSize, pgno * pageSize] as const
      const data = image.subarray(...range)
      if (pgno !== lockPage(pageSize) && (whole || !data.equals(before.subarray(...range)))) pages.push({ pgno, data })
    }
    return this.#encode(image, pageSize, pages, minTxid)
  }

  /** The database is gone. */
  drop(): Buffer {
    this.txid++
    return this.#encode(Buffer.alloc(0), this.pageSize, [], this.txid)
  }

  /** The whole database as it is, as a file that begins at the first transaction. */
  snapshot(): Buffer {
    this.txid = this.txid === 0n ? 1n : this.txid
    const image = this.db.serialize()
    const pageSize = image.readUInt16BE(16) === 1 ? 65536 : image.readUInt16BE(16)
    const pages = Array.from({ length: image.length / pageSize }, (_, i) => ({
      pgno: i + 1,
      data: image.subarray(i * pageSize, (i + 1) * pageSize),
    }))
    return this.#encode(image, pageSize, pages, 1n)
  }

  #encode(image: Buffer, pageSize: number, pages: { pgno: number; data: Buffer }[], minTxid: bigint): Buffer {
    const commit = image.length / pageSize
    const preApplyChecksum = minTxid === 1n ? 0n : this.#checksum
    if (pageSize !== this.pageSize) this.#sums = []
    this.#sums.length = Math.min(this.#sums.length, commit)
    const halves = new Uint32Array(2)
    for (const { pgno, data } of pages) {
      pageChecksum(halves, 0, pgno, data, 0, data.length)
      this.#sums[pgno - 1] = checksumFromHalves(halves[0] ?? 0, halves[1] ?? 0)
    }
    this.#checksum = this.#sums.reduce((sum, one) => sum ^ one, 0n) | (1n << 63n)
    Object.assign(this, { image, pageSize })
    const header = { ...CHANGE, pageSize, commit, minTxid, maxTxid: this.txid, preApplyChecksum }
    return encodeLtx(header, pages, this.#checksum, { compress: true })
  }
}

/** Shown where contents differ. */
export function positionText(position: { txid: bigint; checksum: bigint }): string {
  return `${formatTxid(position.txid)}/${formatTxid(position.checksum)}`
}
