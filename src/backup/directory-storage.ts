import { createReadStream } from 'node:fs'
import fs, { type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { syncNames } from '../db/sync-names.js'
import { ABANDONED_MS, type Content, type ListOptions, type Storage, StorageError, type StoredFile } from './storage.js'

const TEMPORARY = /\.tmp$/
/** Ours: NAME.PID.COUNT.tmp. */
const OWN_TEMPORARY = /\.\d+\.\d+\.tmp$/

/** Backups in a directory of this machine, or of one that is mounted here. `directory` is made when something is written. */
export class DirectoryStorage implements Storage {
  readonly url: string
  readonly layout = 'ltx'
  readonly #root: string
  readonly #abandonedMs: number
  /** Directories that have been looked through for what a killed process left. */
  readonly #swept = new Set<string>()
  #count = 0

  constructor(directory: string, abandonedMs = ABANDONED_MS) {
    this.#root = path.resolve(directory)
    this.#abandonedMs = abandonedMs
    this.url = `file://${this.#root}`
  }

  async *list(directory: string, { from }: ListOptions): AsyncGenerator<StoredFile> {
    const names = await this.#names(directory)
    for (const name of names.filter((name) => name >= from && !TEMPORARY.test(name)).sort()) {
      const stat = await fs.stat(this.#path(directory, name)).catch((error) => {
        // Removed meanwhile.
        if (codeOf(error) === 'ENOENT') return undefined
        throw failure('read', this.#url(directory, name), error)
      })
      if (stat?.isFile()) yield { name, size: stat.size, timeMs: Math.round(stat.mtimeMs) }
    }
  }

  async directories(directory: string): Promise<string[]> {
    const names: string[] = []
    for (const name of await this.#names(directory)) {
      const stat = await fs.stat(this.#path(directory, name)).catch(() => undefined)
      if (stat?.isDirectory()) names.push(name)
    }
    return names.sort()
  }

  async read(key: string, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>> {
    const file = this.#path(key)
    const open = async () => {
      try {
        return await fs.open(file)
      } catch (error) {
        throw failure('read', this.#url(key), error)
      }
    }
    const handle = await open()
    const end = length === undefined ? {} : { end: offset + length - 1 }
    return wrapped(createReadStream(file, { fd: handle, start: offset, highWaterMark: 1 << 18, ...end }), (error) =>
      failure('read', this.#url(key), error),
    )
  }

  async create(key: string, content: Content, timeMs: number): Promise<boolean> {
    return await this.#writeBeside(key, async (temporary, handle) => {
      if ('bytes' in content) await handle.writeFile(content.bytes)
      else for await (const chunk of createReadStream(content.path)) await handle.writeFile(chunk)
      await handle.utimes(timeMs / 1000, timeMs / 1000)
      await handle.sync()
      try {
        // Unlike a rename, a link replaces nothing.
        await fs.link(temporary, this.#path(key))
        return true
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return false
        throw error
      } finally {
        await fs.rm(temporary, { force: true })
      }
    })
  }

  async write(key: string, chunks: AsyncIterable<Uint8Array>, timeMs: number): Promise<void> {
    await this.#writeBeside(key, async (temporary, handle) => {
      for await (const chunk of chunks) await handle.writeFile(chunk)
      await handle.utimes(timeMs / 1000, timeMs / 1000)
      await handle.sync()
      await fs.rename(temporary, this.#path(key))
    })
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      await fs.rm(this.#path(key), { force: true }).catch((error) => {
        throw failure('remove', this.#url(key), error)
      })
    }
  }

  async close(): Promise<void> {}

  async #writeBeside<T>(key: string, put: (temporary: string, handle: FileHandle) => Promise<T>): Promise<T> {
    const file = this.#path(key)
    const temporary = `${file}.${process.pid}.${++this.#count}.tmp`
    try {
      await makeDirectory(path.dirname(file))
      await this.#sweep(path.dirname(file))
      const handle = await fs.open(temporary, 'wx', 0o644)
      try {
        const result = await put(temporary, handle)
        await syncNames(path.dirname(file))
        return result
      } finally {
        await handle.close()
      }
    } catch (error) {
      await fs.rm(temporary, { force: true }).catch(() => {})
      throw error instanceof Error && 'syscall' in error ? failure('write', this.#url(key), error) : error
    }
  }

  async #sweep(directory: string): Promise<void> {
    if (this.#swept.has(directory)) return
    this.#swept.add(directory)
    for (const name of await fs.readdir(directory)) {
      if (!OWN_TEMPORARY.test(name)) continue
      const file = path.join(directory, name)
      const stat = await fs.stat(file).catch((error) => {
        // Another node has finished or removed it.
        if (codeOf(error) === 'ENOENT') return undefined
        throw error
      })
      // Unlike the time of the last transaction, which it gets, this one is when it was last written.
      if (stat !== undefined && Date.now() - stat.ctimeMs > this.#abandonedMs) await fs.rm(file, { force: true })
    }
  }

  async #names(directory: string): Promise<string[]> {
    try {
      return await fs.readdir(this.#path(directory))
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return []
      throw failure('list', this.#url(directory), error)
    }
  }

  #path(...parts: string[]): string {
    return path.join(this.#root, ...parts)
  }

  #url(...parts: string[]): string {
    return `file://${this.#path(...parts)}`
  }
}

/** Makes a directory and those above it, durably. */
async function makeDirectory(directory: string): Promise<void> {
  const first = await fs.mkdir(directory, { recursive: true })
  if (first === undefined) return
  for (let made = directory; made.length >= first.length; made = path.dirname(made)) {
    await syncNames(path.dirname(made))
  }
}

const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: 'let the user of litefs write there, or set backup.url to another directory',
  EPERM: 'backups need a file system with hard links',
  EROFS: 'it is mounted read-only',
  ENOTDIR: 'something in its path is no directory: correct backup.url',
  ENOSPC: 'free space there; the backup goes on by itself',
}

function failure(verb: string, url: string, error: unknown): StorageError {
  const code = codeOf(error)
  const reason = error instanceof Error ? error.message : String(error)
  const remedy = REMEDIES[code]
  const fault = code === 'ENOENT' ? 'missing' : remedy === undefined || code === 'ENOSPC' ? 'passing' : 'setup'
  return new StorageError(`Cannot ${verb} ${url}: ${reason}${remedy === undefined ? '' : ` (${remedy})`}`, fault, {
    cause: error,
  })
}

/** The chunks of a stream, its errors in our words. */
export async function* wrapped(
  chunks: AsyncIterable<Uint8Array>,
  inWords: (error: unknown) => Error,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of chunks) yield chunk
  } catch (error) {
    throw inWords(error)
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
