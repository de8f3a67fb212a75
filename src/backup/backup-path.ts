import {
  type BackupFile,
  type FileRange,
  filePath,
  firstNameFrom,
  LEVELS,
  levelDirectory,
  rangeOf,
} from './replica-layout.js'
import { type Content, joinKey, type Storage } from './storage.js'

/** The backup of one database: its files at a path of a storage. Everything rejects with StorageError. */
export class BackupPath {
  readonly storage: Storage
  /** Below the storage's own path; may be empty. */
  readonly #path: string

  constructor(storage: Storage, path: string) {
    this.storage = storage
    this.#path = path
  }

  /** For messages. */
  get url(): string {
    return joinKey(this.storage.url, this.#path)
  }

  urlOf(file: FileRange): string {
    return joinKey(this.storage.url, this.#key(file))
  }

  /** The files of a level that begin at `from` or later, by TXID. Names of others are passed over. */
  async files(level: number, { from = 0n, exactTimes = false } = {}): Promise<BackupFile[]> {
    const directory = joinKey(this.#path, levelDirectory(this.storage.layout, level))
    const files: BackupFile[] = []
    for await (const { name, size, timeMs } of this.storage.list(directory, {
      from: firstNameFrom(from),
      exactTimes,
    })) {
      const range = rangeOf(level, name)
      if (range !== undefined) files.push({ ...range, size, timeMs })
    }
    // Not every storage keeps to the order of names: S3's directory buckets do not.
    return files.sort(byTxids)
  }

  async allFiles(exactTimes: boolean): Promise<BackupFile[]> {
    const levels = await Promise.all(LEVELS.map((level) => this.files(level, { exactTimes })))
    return levels.flat()
  }

  async read(file: FileRange, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>> {
    return await this.storage.read(this.#key(file), offset, length)
  }

  async create(file: FileRange, content: Content, timeMs: number): Promise<boolean> {
    return await this.storage.create(this.#key(file), content, timeMs)
  }

  async write(file: FileRange, chunks: AsyncIterable<Uint8Array>, timeMs: number, sizeHint: number): Promise<void> {
    await this.storage.write(this.#key(file), chunks, timeMs, sizeHint)
  }

  async remove(files: readonly FileRange[]): Promise<void> {
    if (files.length > 0) await this.storage.remove(files.map((file) => this.#key(file)))
  }

  #key(file: FileRange): string {
    return joinKey(this.#path, filePath(this.storage.layout, file))
  }
}

function byTxids(a: FileRange, b: FileRange): number {
  return Number(a.minTxid - b.minTxid) || Number(a.maxTxid - b.maxTxid)
}
