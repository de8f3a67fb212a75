import fs from 'node:fs'
import path from 'node:path'
import type { SourceTransaction } from '../backup/source.js'

/** LTX files up to this size (bytes) stay in memory, and no more than that of them together. */
const MAX_IN_MEMORY = 1 << 20
const MAX_MEMORY = 16 << 20
/** Kept however small the database is, bytes. */
const MIN_LIMIT = 64 << 20

/** An LTX file that is being made. */
class SpooledDraft {
  readonly path: string
  readonly #inMemory: number
  #chunks: Buffer[] = []
  #fd: number | undefined
  size = 0

  constructor(path: string, inMemory: number) {
    this.path = path
    this.#inMemory = inMemory
  }

  write(chunk: Uint8Array): void {
    this.size += chunk.length
    this.#chunks.push(Buffer.from(chunk))
    if (this.size > this.#inMemory) this.#flush()
  }

  discard(): void {
    if (this.#fd === undefined) return
    fs.closeSync(this.#fd)
    fs.rmSync(this.path, { force: true })
    this.#fd = undefined
  }

  /** The content, where it is in memory. */
  finish(): Buffer | undefined {
    if (this.#fd === undefined) return Buffer.concat(this.#chunks)
    this.#flush()
    fs.closeSync(this.#fd)
    this.#fd = undefined
    return undefined
  }

  #flush(): void {
    this.#fd ??= fs.openSync(this.path, 'wx', 0o600)
    const bytes = Buffer.concat(this.#chunks)
    this.#chunks = []
    for (let done = 0; done < bytes.length; ) done += fs.writeSync(this.#fd, bytes, done)
  }
}

/**
 * What was captured and is not in the backup yet, in memory and in files of a directory. When it becomes more than the database itself, it is given
 * up: a full copy is less then.
 */
export class CapturedTransactions {
  readonly #directory: string
  readonly #items = new Map<bigint, { transaction: SourceTransaction; size: number }>()
  #bytes = 0
  #memory = 0
  #count = 0

  /** The directory must exist. */
  constructor(directory: string) {
    this.#directory = directory
  }

  draft(): SpooledDraft {
    const name = `captured-${process.pid}-${++this.#count}.ltx.tmp`
    return new SpooledDraft(path.join(this.#directory, name), this.#memory < MAX_MEMORY ? MAX_IN_MEMORY : 0)
  }

  /** Keeps what was written to `draft`. False when all was given up: it is larger than a database of `databaseBytes`. */
  add(draft: SpooledDraft, about: Omit<SourceTransaction, 'path' | 'data'>, databaseBytes: number): boolean {
    const data = draft.finish()
    const transaction = { ...about, path: draft.path, data }
    this.#items.set(about.minTxid, { transaction, size: draft.size })
    this.#bytes += draft.size
    this.#memory += data?.length ?? 0
    if (this.#bytes <= Math.max(MIN_LIMIT, databaseBytes)) return true
    this.removeUpTo(about.after.txid)
    return false
  }

  find(minTxid: bigint): SourceTransaction | undefined {
    return this.#items.get(minTxid)?.transaction
  }

  /** The backup has them. */
  removeUpTo(txid: bigint): void {
    // In the order of their TXIDs.
    for (const [minTxid, { transaction, size }] of this.#items) {
      if (minTxid > txid) return
      this.#items.delete(minTxid)
      this.#bytes -= size
      this.#memory -= transaction.data?.length ?? 0
      if (transaction.data === undefined) fs.rmSync(transaction.path, { force: true })
    }
  }
}
