import fs from 'node:fs'

/**
 * A file of the data directory behind a file of the mount. It stays usable after its name is gone, as an open file
 * does on any file system. `retain` and `release` count its users; the descriptor is closed with the last one.
 */
export class BackingFile {
  readonly path: string
  #fd: number
  #users = 0

  private constructor(path: string, fd: number) {
    this.path = path
    this.#fd = fd
  }

  /** Opens an existing file for reading and writing. Throws Node's system error. */
  static open(path: string): BackingFile {
    return new BackingFile(path, fs.openSync(path, fs.constants.O_RDWR))
  }

  /** Creates the file, or opens it where it exists. */
  static create(path: string): BackingFile {
    return new BackingFile(path, fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o666))
  }

  get fd(): number {
    return this.#fd
  }

  retain(): void {
    this.#users++
  }

  /** Returns true when that was the last user; the descriptor is closed then. */
  release(): boolean {
    this.#users--
    if (this.#users > 0) return false
    fs.closeSync(this.#fd)
    this.#fd = -1
    return true
  }

  /** Reads up to `length` bytes at `offset` into `into` from `start` on; returns the number read (fewer at the end of the file). */
  read(into: Uint8Array, start: number, length: number, offset: number): number {
    let done = 0
    while (done < length) {
      const n = fs.readSync(this.#fd, into, start + done, length - done, offset + done)
      if (n === 0) break
      done += n
    }
    return done
  }

  /** Writes all of `data` at `offset`, or throws Node's system error after a part of it may have been written. */
  write(data: Uint8Array, offset: number): void {
    let done = 0
    while (done < data.length) done += fs.writeSync(this.#fd, data, done, data.length - done, offset + done)
  }

  size(): number {
    return fs.fstatSync(this.#fd).size
  }

  stat(): fs.Stats {
    return fs.fstatSync(this.#fd)
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#fd, size)
  }

  /** Brings content and size to the disk. Times are left out even where fsync(2) was asked for: no recovery needs them. */
  sync(): void {
    fs.fdatasyncSync(this.#fd)
  }
}
