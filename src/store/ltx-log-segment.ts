import fs from 'node:fs'
import { promisify } from 'node:util'
import { writeFully } from '../db/write-fully.js'
import { allocate } from '../native.js'

const fdatasync = promisify(fs.fdatasync)

/** Bytes of a segment whose space is reserved and written once, so that appending changes no metadata. */
export const SEGMENT_SIZE = 8 << 20
/** A segment grows to this size (bytes) while the other one is in use; then commits are refused. */
const SEGMENT_LIMIT = 1 << 30
/** The same while LTX files cannot be written, so that the log does not take what space is left. */
const FAILING_LIMIT = 64 << 20

/** One of the two files of the LTX log: records are appended from its start until it is full. */
export class LogSegment {
  readonly fd: number
  /** Another description of the file for the sync in the background: the kernel tells each description of a failed write once. */
  readonly #laterFd: number
  /** Records that no sync has covered, with their offsets, in order. */
  #unsynced: { readonly record: Uint8Array; readonly offset: number }[] = []
  /** A sync failed: the kernel may have dropped what it could not write, and would say that the next one succeeded. */
  #suspect = false
  #inUse = false
  #lastSequence = 0
  #end = 0
  #allocated: number

  private constructor(fd: number, laterFd: number, allocated: number) {
    this.fd = fd
    this.#laterFd = laterFd
    this.#allocated = allocated
  }

  /** Opens the segment, reserving its space where that has not been done. Throws a system error. */
  static open(path: string): LogSegment {
    const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600)
    const { size } = fs.fstatSync(fd)
    if (size < SEGMENT_SIZE) {
      writeFully(fd, Buffer.alloc(SEGMENT_SIZE - size), size)
      fs.fsyncSync(fd)
    }
    return new LogSegment(fd, fs.openSync(path, fs.constants.O_RDWR), Math.max(size, SEGMENT_SIZE))
  }

  /** Whether files that have a record here may not be on disk by themselves. */
  get inUse(): boolean {
    return this.#inUse
  }

  /** Sequence number of the last record. */
  get lastSequence(): number {
    return this.#lastSequence
  }

  hasRoom(length: number): boolean {
    return this.#end + length <= SEGMENT_SIZE
  }

  /** Whether the segment may go on past its usual size. */
  canGrow(length: number, failing: boolean): boolean {
    return this.#end + length <= (failing ? FAILING_LIMIT : SEGMENT_LIMIT)
  }

  /** Takes a record, which must not change any more. Throws a system error; the segment is then as before. */
  append(record: Uint8Array, sequence: number): void {
    if (this.#end + record.length > this.#allocated) {
      allocate(this.fd, this.#allocated, SEGMENT_SIZE)
      this.#allocated += SEGMENT_SIZE
    }
    writeFully(this.fd, record, this.#end)
    this.#unsynced.push({ record, offset: this.#end })
    this.#end += record.length
    this.#inUse = true
    this.#lastSequence = sequence
  }

  /** Starts again from the beginning; what is there now must not be needed any more. */
  restart(): void {
    this.#end = 0
    this.#inUse = false
    this.#unsynced = []
    this.#suspect = false
    if (this.#allocated > SEGMENT_SIZE) {
      fs.ftruncateSync(this.fd, SEGMENT_SIZE)
      this.#allocated = SEGMENT_SIZE
    }
  }

  /** What the records say is on disk: the segment may be used again. */
  free(): void {
    this.#inUse = false
  }

  /** Returns when every record is on disk. Throws a system error. */
  sync(): void {
    const count = this.#unsynced.length
    this.#beforeSync()
    try {
      fs.fdatasyncSync(this.fd)
    } catch (error) {
      this.#suspect = true
      throw error
    }
    this.#unsynced.splice(0, count)
  }

  /** Resolves when every record that is here now is on disk. Rejects with a system error. */
  async syncLater(): Promise<void> {
    const last = this.#unsynced.at(-1)
    this.#beforeSync()
    try {
      await fdatasync(this.#laterFd)
    } catch (error) {
      this.#suspect = true
      throw error
    }
    // Another sync may have covered some of them meanwhile, and the segment may have been started again.
    this.#unsynced.splice(0, last === undefined ? 0 : this.#unsynced.indexOf(last) + 1)
  }

  /** After a sync that failed, only what is written again is sure to be looked at by the next one. */
  #beforeSync(): void {
    if (!this.#suspect) return
    for (const { record, offset } of this.#unsynced) writeFully(this.fd, record, offset)
    this.#suspect = false
  }

  /** Everything that the file holds, old records after the new ones included. */
  contents(): Buffer {
    const bytes = Buffer.alloc(fs.fstatSync(this.fd).size)
    let done = 0
    while (done < bytes.length) {
      const n = fs.readSync(this.fd, bytes, done, bytes.length - done, done)
      if (n === 0) break
      done += n
    }
    return bytes.subarray(0, done)
  }

  close(): void {
    fs.closeSync(this.fd)
    fs.closeSync(this.#laterFd)
  }
}
