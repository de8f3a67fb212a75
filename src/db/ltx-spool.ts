import fs from 'node:fs'
import path from 'node:path'

/** LTX files up to this size (bytes) stay in memory until the log has them; larger ones are streamed to a file. */
export const MEMORY_LIMIT = 1 << 20
const FILE_MODE = 0o644
/** Bytes that a file begins with. */
const SMALL_BUFFER = 16 << 10
const NOTHING = Buffer.alloc(0)

/** Memory of the last file that was small: one spool is used at a time, mostly. */
let spareBuffer: Buffer<ArrayBuffer> | undefined

/** Where finished LTX files go. The store keeps them safe; a database only says what exists. */
export interface LtxSink {
  /**
   * Stores a small LTX file: it will exist at `file`, whatever crashes, once `sync` has covered the returned sequence number.
   * `data` is valid until it returns. Throws a system error, ENOSPC among them, when it cannot be stored.
   */
  append(file: string, data: Uint8Array): number
  /** Takes note of a large LTX file that is on disk already; returns its sequence number. */
  adopt(file: string): number
  /** Makes everything up to a sequence number durable before it returns. Throws a system error. */
  sync(sequence: number): void
  /** The LTX file never happened: SQLite dropped its transaction. A later `append` may use the same name. */
  undo(file: string): void
}

/**
 * Collects the bytes of one LTX file after the other: in memory, and from MEMORY_LIMIT on in a temporary file beside its final place.
 * One that is on the disk already is taken as it is. Each ends with `store` or `discard`.
 */
export class LtxSpool {
  readonly #temporary: string
  #buffer: Buffer<ArrayBuffer> = NOTHING
  #used = 0
  #fd: number | undefined

  /** `ltxDir` must exist. */
  constructor(ltxDir: string) {
    this.#temporary = path.join(ltxDir, 'next.ltx.tmp')
  }

  /** Copies the chunk. Throws a system error. */
  write(chunk: Uint8Array): void {
    if (this.#used + chunk.length > this.#buffer.length) this.#makeRoom(chunk.length)
    this.#buffer.set(chunk, this.#used)
    this.#used += chunk.length
  }

  /**
   * Takes a whole file that is on the disk already, without copying it where the file system can. It may then lose the name that it has. Throws
   * a system error.
   */
  take(file: string): void {
    fs.rmSync(this.#temporary, { force: true })
    linkOrCopy(file, this.#temporary)
    this.#fd = fs.openSync(this.#temporary, 'r+')
    fs.fchmodSync(this.#fd, FILE_MODE)
  }

  /** Moves the finished file to `file` or into the sink; returns its sequence number there. */
  store(file: string, sink: LtxSink): number {
    if (this.#fd === undefined) {
      const sequence = sink.append(file, this.#buffer.subarray(0, this.#used))
      this.#empty()
      return sequence
    }
    this.#flush(this.#fd)
    fs.fsyncSync(this.#fd)
    this.#close()
    fs.renameSync(this.#temporary, file)
    this.#empty()
    try {
      syncDirectory(path.dirname(file))
      return sink.adopt(file)
    } catch (error) {
      // Its transaction fails, so it must not be found under its name.
      fs.rmSync(file, { force: true })
      throw error
    }
  }

  /** Hands over the finished file: in memory, or moved to `file`. The spool is empty then. Throws a system error. */
  release(file: string): { readonly bytes: Uint8Array } | { readonly path: string } {
    if (this.#fd === undefined) {
      const bytes = Uint8Array.from(this.#buffer.subarray(0, this.#used))
      this.#empty()
      return { bytes }
    }
    this.#flush(this.#fd)
    this.#close()
    fs.renameSync(this.#temporary, file)
    this.#empty()
    return { path: file }
  }

  discard(): void {
    this.#empty()
    if (this.#fd === undefined) return
    this.#close()
    fs.rmSync(this.#temporary, { force: true })
  }

  #empty(): void {
    this.#used = 0
    if (this.#buffer.length === SMALL_BUFFER) spareBuffer = this.#buffer
    this.#buffer = NOTHING
  }

  #makeRoom(length: number): void {
    if (this.#buffer.length === 0 && length <= SMALL_BUFFER) {
      this.#buffer = spareBuffer ?? Buffer.allocUnsafeSlow(SMALL_BUFFER)
      spareBuffer = undefined
      return
    }
    if (this.#used + length <= MEMORY_LIMIT && this.#fd === undefined) {
      const larger = Buffer.allocUnsafe(Math.min(MEMORY_LIMIT, 2 * (this.#used + length)))
      larger.set(this.#buffer.subarray(0, this.#used))
      this.#buffer = larger
      return
    }
    if (this.#fd === undefined) this.#fd = fs.openSync(this.#temporary, 'w', FILE_MODE)
    this.#flush(this.#fd)
    if (length > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(length)
  }

  #flush(fd: number): void {
    let done = 0
    while (done < this.#used) done += fs.writeSync(fd, this.#buffer, done, this.#used - done)
    this.#used = 0
  }

  #close(): void {
    if (this.#fd === undefined) return
    fs.closeSync(this.#fd)
    this.#fd = undefined
  }
}

/** Not every file system has hard links. Throws a system error. */
function linkOrCopy(file: string, target: string): void {
  try {
    fs.linkSync(file, target)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV'].includes(code)) throw error
    fs.copyFileSync(file, target)
  }
}

/** Makes the names in a directory durable. */
export function syncDirectory(dir: string): void {
  const fd = fs.openSync(dir, 'r')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}
