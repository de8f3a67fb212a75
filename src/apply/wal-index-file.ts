import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { writeFully } from '../db/write-fully.js'
import { mapShared, ofdSetLock, unmapShared } from '../native.js'
import { WAL_CKPT_LOCK, WAL_DMS_LOCK, WAL_READ_LOCK, WAL_READ_LOCK_COUNT, WAL_WRITE_LOCK } from '../sqlite/locks.js'
import {
  encodeWalIndexCopy,
  NBACKFILL_ATTEMPTED_OFFSET,
  NBACKFILL_OFFSET,
  parseWalIndexHeader,
  publishWalIndexCopy,
  READ_MARK_UNUSED,
  READ_MARKS_OFFSET,
  WAL_INDEX_HEADER_SIZE,
  type WalIndexCommit,
  type WalIndexHeader,
} from '../sqlite/wal-index.js'
import { WAL_INDEX_BLOCK_SIZE, WalIndexTable, walIndexSize } from '../sqlite/wal-index-table.js'

/**
 * The wal-index of a database as its writer sees it, mapped. It must exist, and the caller must keep a connection open until `open` has
 * returned: from then on the lock on the "dead man's switch" keeps everybody from truncating it under the mapping.
 */
export class WalIndexFile {
  readonly #fd: number
  #mapping = new ArrayBuffer(0)
  #words = new Uint32Array(0)
  #table = new WalIndexTable(new ArrayBuffer(0))

  private constructor(fd: number) {
    this.#fd = fd
  }

  /** Throws a system error. */
  static open(path: string): WalIndexFile {
    const index = new WalIndexFile(fs.openSync(path, 'r+'))
    try {
      if (!ofdSetLock(index.#fd, 'read', WAL_DMS_LOCK, 1)) throw new Error(`Cannot use ${path}: it is being made`)
      index.#map()
      return index
    } catch (error) {
      index.close()
      throw error
    }
  }

  /** Closing takes with it the locks that SQLite connections of this process hold on the file: let there be none. */
  close(): void {
    if (this.#mapping.byteLength > 0) unmapShared(this.#mapping)
    fs.closeSync(this.#fd)
  }

  /** Whether nobody else writes to the log from now on. */
  lockWriter(): boolean {
    return ofdSetLock(this.#fd, 'write', WAL_WRITE_LOCK, 1)
  }

  unlockWriter(): void {
    ofdSetLock(this.#fd, 'unlock', WAL_WRITE_LOCK, 1)
  }

  header(): WalIndexHeader {
    return parseWalIndexHeader(new Uint8Array(this.#mapping, 0, WAL_INDEX_HEADER_SIZE))
  }

  /** The last frame up to `mxFrame` with this page, 0 for none. */
  find(pgno: number, mxFrame: number): number {
    this.#makeRoom(mxFrame)
    return this.#table.find(pgno, mxFrame)
  }

  /** Makes the frames after `mxFrame`, which hold the pages `pgnos`, visible by `commit`. Only under the writer's lock. */
  publish(mxFrame: number, pgnos: readonly number[], commit: WalIndexCommit): void {
    this.#makeRoom(mxFrame + pgnos.length)
    pgnos.forEach((pgno, i) => {
      this.#table.append(mxFrame + 1 + i, pgno, mxFrame)
    })
    publishWalIndexCopy(this.#words, encodeWalIndexCopy(commit))
  }

  /**
   * Starts the log from its beginning where all of it is in the database file and no reader needs it, and returns the header then. Only
   * under the writer's lock. SQLite's own writers do not lock out checkpoints here, which is how one that has read the header before and
   * looks at the frames after could copy the wrong ones (the WAL-reset bug of SQLite before 3.51.3): so this does.
   */
  restartIfDone(header: WalIndexHeader): WalIndexHeader {
    if (header.mxFrame === 0 || header.nBackfill !== header.mxFrame) return header
    if (!ofdSetLock(this.#fd, 'write', WAL_CKPT_LOCK, 1)) return header
    try {
      // Readers in slot 0 use the database file alone.
      if (!ofdSetLock(this.#fd, 'write', WAL_READ_LOCK + 1, WAL_READ_LOCK_COUNT - 1)) return header
      try {
        this.#restart(header)
      } finally {
        ofdSetLock(this.#fd, 'unlock', WAL_READ_LOCK + 1, WAL_READ_LOCK_COUNT - 1)
      }
    } finally {
      ofdSetLock(this.#fd, 'unlock', WAL_CKPT_LOCK, 1)
    }
    return this.header()
  }

  /**
   * A passive checkpoint: has `copy` bring the frames after `from`, up to `to`, to the database file, as far as no reader needs what is there.
   * Returns whether the database file has all frames then. What `copy` throws passes through, and the frames count as not copied.
   */
  backfill(copy: (header: WalIndexHeader, from: number, to: number) => void): boolean {
    if (!ofdSetLock(this.#fd, 'write', WAL_CKPT_LOCK, 1)) return false
    try {
      const header = this.header()
      if (!header.valid) return false
      if (header.nBackfill >= header.mxFrame) return true
      const to = this.#safeFrame(header)
      // Readers in slot 0 use the database file as it is.
      if (to <= header.nBackfill || !ofdSetLock(this.#fd, 'write', WAL_READ_LOCK, 1)) return false
      try {
        this.#makeRoom(to)
        Atomics.store(this.#words, NBACKFILL_ATTEMPTED_OFFSET / 4, to)
        copy(header, header.nBackfill, to)
        Atomics.store(this.#words, NBACKFILL_OFFSET / 4, to)
      } finally {
        ofdSetLock(this.#fd, 'unlock', WAL_READ_LOCK, 1)
      }
      return to === header.mxFrame
    } finally {
      ofdSetLock(this.#fd, 'unlock', WAL_CKPT_LOCK, 1)
    }
  }

  /** The page that a frame holds; it must be one of those up to mxFrame. */
  pgno(frame: number): number {
    return this.#table.pgno(frame)
  }

  /** The last frame up to which every reader reads, at least. A mark that nobody uses is moved out of the way, as SQLite does it. */
  #safeFrame({ mxFrame, readMarks }: WalIndexHeader): number {
    let safe = mxFrame
    for (let slot = 1; slot < WAL_READ_LOCK_COUNT; slot++) {
      const mark = readMarks[slot] ?? READ_MARK_UNUSED
      if (safe <= mark) continue
      if (!ofdSetLock(this.#fd, 'write', WAL_READ_LOCK + slot, 1)) {
        safe = mark
        continue
      }
      Atomics.store(this.#words, READ_MARKS_OFFSET / 4 + slot, slot === 1 ? safe : READ_MARK_UNUSED)
      ofdSetLock(this.#fd, 'unlock', WAL_READ_LOCK + slot, 1)
    }
    return safe
  }

  #restart(header: WalIndexHeader): void {
    const salt1 = (header.salt1 + 1) >>> 0
    const salt2 = randomBytes(4).readUInt32BE()
    publishWalIndexCopy(this.#words, encodeWalIndexCopy({ ...header, mxFrame: 0, salt1, salt2 }))
    Atomics.store(this.#words, NBACKFILL_OFFSET / 4, 0)
    Atomics.store(this.#words, NBACKFILL_ATTEMPTED_OFFSET / 4, 0)
    Atomics.store(this.#words, READ_MARKS_OFFSET / 4 + 1, 0)
    for (let slot = 2; slot < WAL_READ_LOCK_COUNT; slot++) {
      Atomics.store(this.#words, READ_MARKS_OFFSET / 4 + slot, READ_MARK_UNUSED)
    }
  }

  #makeRoom(frames: number): void {
    if (frames <= this.#table.capacity) return
    const { size } = fs.fstatSync(this.#fd)
    const wanted = walIndexSize(frames)
    // Written, not only made longer: a page of the mapping that finds no room on the disk would end the process.
    if (size < wanted) writeFully(this.#fd, Buffer.alloc(wanted - size), size)
    this.#map()
  }

  #map(): void {
    const { size } = fs.fstatSync(this.#fd)
    const length = Math.floor(size / WAL_INDEX_BLOCK_SIZE) * WAL_INDEX_BLOCK_SIZE
    if (length === 0) throw new Error('Cannot use the wal-index: it is empty')
    if (this.#mapping.byteLength > 0) unmapShared(this.#mapping)
    this.#mapping = mapShared(this.#fd, length, true)
    this.#words = new Uint32Array(this.#mapping)
    this.#table = new WalIndexTable(this.#mapping)
  }
}
