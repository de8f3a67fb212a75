import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { type LtxBody, readLtxSlowly } from '../db/ltx-body.js'
import { readPadded, writeFully } from '../db/write-fully.js'
import type { PageImage } from '../ltx/page-block.js'
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  databasePageCount,
  parseDatabaseHeader,
  setVersion,
} from '../sqlite/database-header.js'
import { encodeWalHeader, FRAME_HEADER_SIZE, parseWalHeader, WAL_HEADER_SIZE, type WalHeader } from '../sqlite/wal.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'
import type { WalCursor } from '../sqlite/wal-scan.js'
import { DatabaseLocks, retry } from './database-locks.js'
import type { DatabasePaths } from './database-paths.js'
import { copyFrames } from './frame-copy.js'
import { FrameWriter } from './frame-writer.js'
import { isLater, nextCounter, type SeenVersion, seenVersion } from './seen-version.js'
import { SessionFiles } from './session-files.js'
import { type ApplyOptions, openSqlite } from './sqlite-connection.js'
import type { WalIndexFile } from './wal-index-file.js'

/** Frames between two checkpoints, as many as SQLite's own default. */
const CHECKPOINT_FRAMES = 1000
/** A log longer than this, bytes, is cut when all of it is in the database. */
const LARGE_WAL = 64 << 20
/** Recoveries of one wal-index in a row, by a real connection: more than one only if somebody damages it meanwhile. */
const MAX_RECOVERIES = 10

/** In the byte order of the machine the checksums of a log are cheapest, and SQLite writes no others. */
const BIG_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 0

/**
 * A database with a write-ahead log, written to as SQLite's own writer would: readers go on reading what they see, and see the next
 * transaction when they begin the next one. From `open` to `close` it holds what a connection holds, SHARED on the database and on the
 * wal-index, so that the log stays and the journal mode with it. Recovery is left to a connection of SQLite.
 */
export class WalSession {
  readonly #paths: DatabasePaths
  readonly #options: ApplyOptions
  readonly #files: SessionFiles
  readonly #index: WalIndexFile
  readonly #locks: DatabaseLocks
  #header: DatabaseHeader
  /** What connections may have cached that have not looked since the log began. */
  readonly seen: SeenVersion
  /** Other writers are kept out. */
  #holds = false
  /** mxFrame at which the next checkpoint is due. */
  #checkpointAt = CHECKPOINT_FRAMES

  private constructor(
    paths: DatabasePaths,
    options: ApplyOptions,
    files: SessionFiles,
    known: SeenVersion | undefined,
  ) {
    this.#paths = paths
    this.#options = options
    this.#files = files
    this.#index = files.index
    this.#locks = new DatabaseLocks(files.database)
    this.#header = readHeader(paths.database, files.database, 0)
    this.seen = seenVersion(fs.fstatSync(files.database).ino, this.#header, known)
  }

  /**
   * Opens the database as a connection would, which recovers it where that is needed. `known` is what readers are known to have seen.
   * Undefined when it has no log after all. Throws BusyError, SqliteError, a system error.
   */
  static async open(
    paths: DatabasePaths,
    options: ApplyOptions,
    known: SeenVersion | undefined,
  ): Promise<WalSession | undefined> {
    const connection = await openSqlite(paths.database, options)
    const files =
      connection.pragma('journal_mode', { simple: true }) === 'wal' ? new SessionFiles(paths, connection) : undefined
    if (files === undefined) {
      connection.close()
      return undefined
    }
    const session = new WalSession(paths, options, files, known)
    try {
      await retry(() => session.#locks.shared(), `lock ${paths.database}`, options.busyTimeoutMs, options.signal)
      const { valid, mxFrame } = files.index.header()
      const frame = valid ? files.index.find(1, mxFrame) : 0
      if (frame > 0) session.#header = readHeader(paths.wal, files.wal, session.#pageOffset(frame))
      return session
    } catch (error) {
      session.close()
      throw error
    }
  }

  /** The database's first page as of the last transaction. */
  get header(): DatabaseHeader {
    return this.#header
  }

  /**
   * Whether a connection that has not looked since the log began, and finds none when it does, knows that its cache is of no use. Of a log's
   * transactions most leave the change counter, by which it would know, as it is.
   */
  get isNoticed(): boolean {
    return isLater(this.#header.changeCounter, this.seen.counter)
  }

  /** Applies one transaction. When it throws, nothing of it is visible, and it may be applied again. */
  async apply(body: LtxBody): Promise<void> {
    const index = await this.#lockWriter()
    try {
      await this.#appendLtx(body, this.#index.restartIfDone(index))
    } finally {
      if (!this.#holds) this.#index.unlockWriter()
    }
  }

  /** Whether so much of the log has not been copied to the database that it is time. */
  get isCheckpointDue(): boolean {
    return this.#index.header().mxFrame >= this.#checkpointAt
  }

  /**
   * Commits a transaction of its own that has everybody notice the log, unless somebody else has: page 1 with a change counter that no
   * connection can have seen. For a node that is the primary. Throws BusyError, a system error.
   */
  async makeNoticed(busyTimeoutMs: number): Promise<void> {
    const index = await this.#lockWriter(busyTimeoutMs)
    try {
      const page = this.#readPage(1, index.mxFrame)
      this.#header = headerOf(page, this.#paths.database)
      if (this.isNoticed) return
      const pageCount = index.nPage || databasePageCount(this.#header, fs.fstatSync(this.#files.database).size)
      setVersion(page, nextCounter(this.seen.counter), pageCount)
      await this.#append(this.#index.restartIfDone(index), async (writer) => {
        await writer.add([{ pgno: 1, data: page }])
        return pageCount
      })
      this.#header = headerOf(page, this.#paths.database)
    } finally {
      if (!this.#holds) this.#index.unlockWriter()
    }
  }

  /** Keeps other writers out, until `letGo` or the session is closed. Throws BusyError. */
  async hold(busyTimeoutMs: number): Promise<void> {
    await this.#lockWriter(busyTimeoutMs)
    this.#holds = true
  }

  letGo(): void {
    if (this.#holds) this.#index.unlockWriter()
    this.#holds = false
  }

  /**
   * Copies what readers allow of the log to the database, and cuts a large log when that was all. Returns whether nothing is left to copy.
   * Throws a system error, or SqliteError.
   */
  checkpoint(): boolean {
    const { database, wal } = this.#files
    const done = this.#index.backfill((header, from, to) => {
      if (this.#options.sync) fs.fdatasyncSync(wal)
      const direct = () => this.#files.direct()
      copyFrames({ database, wal, direct, pageSize: this.#header.pageSize }, header, this.#index, { from, to })
      if (this.#options.sync) fs.fdatasyncSync(database)
    })
    const { mxFrame } = this.#index.header()
    this.#checkpointAt = done ? CHECKPOINT_FRAMES : mxFrame + CHECKPOINT_FRAMES
    // Where page 1 calls for a rollback journal, or is not looked at, only a log with something in it tells connections that there is one.
    if (done && this.isNoticed && this.#header.readVersion === 2 && fs.fstatSync(wal).size > LARGE_WAL)
      this.#files.connection.pragma('wal_checkpoint(TRUNCATE)')
    return done
  }

  /** Whether every frame of the log is in the database. */
  get checkpointed(): boolean {
    const { valid, mxFrame, nBackfill } = this.#index.header()
    return valid && mxFrame === nBackfill
  }

  /**
   * Ends the log if nobody else has the database open: all of it is in the database then, and the log is gone. Closes the session in any
   * case. Returns whether the log has ended.
   */
  leave(): boolean {
    try {
      this.checkpoint()
      this.#files.connection.close()
      if (!this.#locks.alone() || !this.checkpointed || !this.#isThere()) return false
      fs.unlinkSync(this.#paths.wal)
      fs.unlinkSync(this.#paths.shm)
      return true
    } finally {
      this.close()
    }
  }

  /** Whether the names are still those of these files: on a primary others may have removed them. */
  #isThere(): boolean {
    const isSame = (path: string, fd: number) =>
      fs.statSync(path, { throwIfNoEntry: false })?.ino === fs.fstatSync(fd).ino
    return isSame(this.#paths.database, this.#files.database) && isSame(this.#paths.wal, this.#files.wal)
  }

  close(): void {
    this.#files.close()
  }

  async #lockWriter(busyTimeoutMs = this.#options.busyTimeoutMs): Promise<WalIndexHeader> {
    const { signal } = this.#options
    for (let recoveries = 0; recoveries < MAX_RECOVERIES; recoveries++) {
      await retry(() => this.#index.lockWriter(), `write to ${this.#paths.wal}`, busyTimeoutMs, signal)
      const header = this.#index.header()
      if (header.valid) return header
      this.#index.unlockWriter()
      // Beginning to read recovers the index.
      this.#files.connection.pragma('schema_version')
    }
    throw new Error(`Cannot write to ${this.#paths.wal}: its wal-index is damaged again and again`)
  }

  async #appendLtx(body: LtxBody, index: WalIndexHeader): Promise<void> {
    let firstPage: DatabaseHeader | undefined
    const noted = function* (pages: Iterable<PageImage>) {
      for (const page of pages) {
        if (page.pgno === 1) firstPage = parseDatabaseHeader(page.data)
        yield page
      }
    }
    await this.#append(index, (writer) =>
      readLtxSlowly(body, async (reader) => {
        await writer.add(noted(reader.pages()))
        // A transaction without pages may still make the database shorter, and only a frame can say so.
        if (writer.pgnos.length === 0) await writer.add([{ pgno: 1, data: this.#readPage(1, index.mxFrame) }])
        return reader.header.commit
      }),
    )
    if (firstPage !== undefined) this.#header = firstPage
  }

  /** Appends the transaction whose frames `add` writes; it resolves to how many pages the database has then. */
  async #append(index: WalIndexHeader, add: (writer: FrameWriter) => Promise<number>): Promise<void> {
    const { pageSize } = this.#header
    const header = index.mxFrame === 0 ? this.#startLog(index) : { ...index, pageSize, sequence: 0 }
    const offset = WAL_HEADER_SIZE + index.mxFrame * (FRAME_HEADER_SIZE + pageSize)
    const writer = new FrameWriter(this.#files.wal, header, { offset, s1: header.s1, s2: header.s2 })
    try {
      const pageCount = await add(writer)
      this.#publish(index, header, writer, await writer.commit(pageCount), pageCount)
    } finally {
      await writer.close()
    }
  }

  #publish(index: WalIndexHeader, log: WalHeader, writer: FrameWriter, end: WalCursor, pageCount: number): void {
    const { pgnos } = writer
    this.#index.publish(index.mxFrame, pgnos, {
      changeCounter: (index.changeCounter + 1) >>> 0,
      bigEndian: log.bigEndian,
      pageSize: log.pageSize,
      mxFrame: index.mxFrame + pgnos.length,
      nPage: pageCount,
      s1: end.s1,
      s2: end.s2,
      salt1: log.salt1,
      salt2: log.salt2,
    })
  }

  /** Writes the header of a log that begins anew. The salts are the index' unless it has none, so that a second attempt writes the same. */
  #startLog(index: WalIndexHeader): WalHeader {
    const bytes = new Uint8Array(WAL_HEADER_SIZE)
    readPadded(this.#files.wal, bytes, 0)
    const last = parseWalHeader(bytes)
    const none = index.salt1 === 0 && index.salt2 === 0
    const salt1 = none ? randomBytes(4).readUInt32BE() : index.salt1
    const salt2 = none ? randomBytes(4).readUInt32BE() : index.salt2
    if (last?.salt1 === salt1 && last.salt2 === salt2 && last.pageSize === this.#header.pageSize) return last
    const sequence = last === undefined ? 0 : (last.sequence + 1) >>> 0
    const fields = { bigEndian: BIG_ENDIAN, pageSize: this.#header.pageSize, sequence, salt1, salt2 }
    const encoded = encodeWalHeader(fields)
    writeFully(this.#files.wal, encoded, 0)
    const view = new DataView(encoded.buffer)
    return { ...fields, s1: view.getUint32(24), s2: view.getUint32(28) }
  }

  /** A page as of frame `mxFrame`. */
  #readPage(pgno: number, mxFrame: number): Uint8Array {
    const page = new Uint8Array(this.#header.pageSize)
    const frame = this.#index.find(pgno, mxFrame)
    if (frame === 0) readPadded(this.#files.database, page, (pgno - 1) * page.length)
    else readPadded(this.#files.wal, page, this.#pageOffset(frame))
    return page
  }

  #pageOffset(frame: number): number {
    return WAL_HEADER_SIZE + (frame - 1) * (FRAME_HEADER_SIZE + this.#header.pageSize) + FRAME_HEADER_SIZE
  }
}

function readHeader(path: string, fd: number, offset: number): DatabaseHeader {
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  readPadded(fd, bytes, offset)
  return headerOf(bytes, `${path}, byte ${offset}`)
}

function headerOf(page: Uint8Array, where: string): DatabaseHeader {
  const header = parseDatabaseHeader(page)
  if (header === undefined) throw new Error(`Cannot use the database: there is no header at ${where}`)
  return header
}
