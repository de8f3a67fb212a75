import fs from 'node:fs'
import { StagedBlocks, StagedRun, type StagedWrites } from './staged-writes.js'

/** What stat(2) tells of a backing file. */
export interface FileStat {
  readonly size: number
  /** Of 512 bytes. */
  readonly blocks: number
  readonly atimeMs: number
  readonly mtimeMs: number
  readonly ctimeMs: number
}

/**
 * A file of the data directory behind a file of the mount. It stays usable after its name is gone, as an open file
 * does on any file system. `retain` and `release` count its users.
 *
 * Writes may be staged: they are held in memory until `flush`, and every reader of this object sees them. A file that was made in memory
 * does not exist on disk before that.
 */
export class BackingFile {
  readonly path: string
  /** -1 for a file in memory. */
  #fd: number
  #users = 0
  #staged: StagedWrites | undefined
  /** Size on disk, bytes; -1 until it is asked for. Nobody else changes the file. */
  #diskSize = -1
  /** Of a file in memory, milliseconds since the epoch. */
  #modifiedMs = Date.now()

  private constructor(path: string, fd: number) {
    this.path = path
    this.#fd = fd
  }

  /** Opens an existing file for reading and writing. Throws Node's system error. */
  static open(path: string): BackingFile {
    return new BackingFile(path, fs.openSync(path, fs.constants.O_RDWR))
  }

  /** Opens an existing file that only has to be read. */
  static openReadOnly(path: string): BackingFile {
    return new BackingFile(path, fs.openSync(path, fs.constants.O_RDONLY))
  }

  /** Creates the file, or opens it where it exists. */
  static create(path: string): BackingFile {
    return new BackingFile(path, createFile(path))
  }

  /** A new, empty file that comes to the disk with its first `flush`. */
  static inMemory(path: string): BackingFile {
    const file = new BackingFile(path, -1)
    file.#staged = new StagedBlocks(0)
    return file
  }

  get inMemory(): boolean {
    return this.#fd < 0
  }

  get used(): boolean {
    return this.#users > 0
  }

  /** Memory that staged writes take, bytes. */
  get stagedBytes(): number {
    return this.#staged?.bytes ?? 0
  }

  /** Whether something here is not on the disk's side yet. */
  get staged(): boolean {
    return this.inMemory || this.stagedBytes > 0
  }

  retain(): void {
    this.#users++
  }

  /** Returns true when that was the last user. */
  release(): boolean {
    this.#users--
    return this.#users === 0
  }

  /** Forgets what is staged, and closes the descriptor. */
  close(): void {
    this.#staged?.drop()
    this.#staged = undefined
    if (!this.inMemory) fs.closeSync(this.#fd)
    this.#fd = -1
  }

  /** From now on writes anywhere in the file are staged. */
  stageBlocks(): void {
    if (this.#staged === undefined) this.#staged = new StagedBlocks(this.#sizeOnDisk())
  }

  /** The next writes are staged as long as they follow each other; any other flushes them. */
  stageRun(): void {
    if (this.#staged !== undefined) return
    this.#staged = new StagedRun(this.#sizeOnDisk())
  }

  /** Writes what is staged, and stages no more. Throws a system error; then everything is still staged, and may be on disk in part. */
  flush(): void {
    if (this.#staged === undefined) return
    if (this.inMemory) this.#fd = createFile(this.path)
    for (const { offset, data } of this.#staged.runs()) this.#writeDisk(data, offset)
    this.#staged.drop()
    this.#staged = undefined
  }

  /** Reads up to `length` bytes at `offset` into `into` from `start` on; returns the number read (fewer at the end of the file). */
  read(into: Uint8Array, start: number, length: number, offset: number): number {
    const staged = this.#staged
    if (staged === undefined) return this.#readDisk(into, start, length, offset)
    const count = Math.max(0, Math.min(length, staged.size - offset))
    if (!staged.covers(offset, offset + count)) {
      const n = this.#readDisk(into, start, count, offset)
      into.fill(0, start + n, start + count)
    }
    staged.overlay(into, start, count, offset)
    return count
  }

  /** Writes all of `data` at `offset`, or throws Node's system error after a part of it may have been written. */
  write(data: Uint8Array, offset: number): void {
    if (this.#staged?.write(data, offset, this.#readBelow)) {
      if (this.inMemory) this.#modifiedMs = Date.now()
      return
    }
    this.flush()
    this.#writeDisk(data, offset)
  }

  /** Writes what is staged and `data` behind it. When it throws a system error, the file has not taken `data`. */
  writeThrough(data: Uint8Array, offset: number): void {
    const run = this.#staged
    if (!(run instanceof StagedRun) || run.end !== offset || !run.write(data, offset)) {
      this.flush()
      this.#writeDisk(data, offset)
      return
    }
    try {
      this.flush()
    } catch (error) {
      run.cut(data.length)
      throw error
    }
  }

  size(): number {
    return this.#staged?.size ?? this.#sizeOnDisk()
  }

  stat(): FileStat {
    if (this.inMemory) {
      const time = this.#modifiedMs
      return { size: this.size(), blocks: this.stagedBytes / 512, atimeMs: time, mtimeMs: time, ctimeMs: time }
    }
    const { blocks, atimeMs, mtimeMs, ctimeMs } = fs.fstatSync(this.#fd)
    return { size: this.size(), blocks, atimeMs, mtimeMs, ctimeMs }
  }

  /** All that the disk tells of a file that is there, without what is staged. */
  diskStat(): fs.Stats {
    return fs.fstatSync(this.#fd)
  }

  /** Sets the times, milliseconds since the epoch. A file in memory has only one. */
  setTimes(atimeMs: number, mtimeMs: number): void {
    this.#modifiedMs = mtimeMs
    if (!this.inMemory) fs.futimesSync(this.#fd, atimeMs / 1000, mtimeMs / 1000)
  }

  /** Cuts the file or extends it with zeros; what is staged of a file on disk is written first. */
  truncate(size: number): void {
    if (this.inMemory && this.#staged instanceof StagedBlocks) {
      this.#staged.truncate(size)
      return
    }
    this.flush()
    this.#diskSize = -1
    fs.ftruncateSync(this.#fd, size)
  }

  /** Brings content and size to the disk. Times are left out even where fsync(2) was asked for: no recovery needs them. */
  sync(): void {
    this.flush()
    fs.fdatasyncSync(this.#fd)
  }

  readonly #readBelow = (into: Uint8Array, offset: number): void => {
    into.fill(0, this.#readDisk(into, 0, into.length, offset))
  }

  #readDisk(into: Uint8Array, start: number, length: number, offset: number): number {
    if (this.inMemory) return 0
    let done = 0
    while (done < length) {
      const n = fs.readSync(this.#fd, into, start + done, length - done, offset + done)
      if (n === 0) break
      done += n
    }
    return done
  }

  #writeDisk(data: Uint8Array, offset: number): void {
    const size = this.#diskSize
    this.#diskSize = -1
    let done = 0
    while (done < data.length) done += fs.writeSync(this.#fd, data, done, data.length - done, offset + done)
    if (size >= 0) this.#diskSize = Math.max(size, offset + data.length)
  }

  #sizeOnDisk(): number {
    if (this.#diskSize < 0) this.#diskSize = fs.fstatSync(this.#fd).size
    return this.#diskSize
  }
}

function createFile(path: string): number {
  return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o666)
}
