/** A file as a storage lists it. */
export interface StoredFile {
  /** Without its directory. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** Milliseconds since the epoch: what was given when it was written, or, unless exact times were asked for, when that was. */
  readonly timeMs: number
}

export interface ListOptions {
  /** Only names from this one on, itself included; all when it is empty. */
  readonly from: string
  /** Ask for each file's own time where the listing has another one. */
  readonly exactTimes: boolean
}

/** What is to be written as one piece: in memory, or a local file. */
export type Content = { readonly bytes: Uint8Array } | { readonly path: string; readonly size: number }

/**
 * Where backups are: files in directories, whose keys are paths with `/` below the storage's own path. A file appears whole, under its
 * name, or not at all. Everything rejects with StorageError; what a call was asked twice comes to the same.
 */
export interface Storage {
  /** For messages: `s3://bucket/path`, without passwords. */
  readonly url: string
  /** How Litestream names the levels there. */
  readonly layout: 'hex' | 'ltx'
  /** The files of a directory, in any order; none where there is no such directory. */
  list(directory: string, options: ListOptions): AsyncIterable<StoredFile>
  /** Names of the directories in a directory; '' is the storage's own. */
  directories(directory: string): Promise<string[]>
  /** The file's bytes from `offset` to its end, or `length` of them. */
  read(key: string, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>>
  /** Writes a file that must not be there yet: false when it is. Of two that try at once, one is told false. */
  create(key: string, content: Content, timeMs: number): Promise<boolean>
  /** Writes a file, replacing one. `sizeHint`: about how many bytes will come. */
  write(key: string, chunks: AsyncIterable<Uint8Array>, timeMs: number, sizeHint: number): Promise<void>
  /** Files that are not there are no error. */
  remove(keys: readonly string[]): Promise<void>
  close(): Promise<void>
}

export type StorageFault =
  /** The file, bucket or directory is not there. */
  | 'missing'
  /** Credentials or permissions are wrong, or the address: a person has to do something. */
  | 'setup'
  /** May pass by itself. */
  | 'passing'

/** A storage that does not do what it is asked. `message` names the object and, where there is one, the remedy. */
export class StorageError extends Error {
  override name = 'StorageError'
  readonly fault: StorageFault

  constructor(message: string, fault: StorageFault, options?: { cause: unknown }) {
    super(message, options)
    this.fault = fault
  }
}

/**
 * A file that is not finished and has not changed for so long, milliseconds, is what a killed process left. Nobody stops for a day in the middle
 * of writing one, and clocks differ by less.
 */
export const ABANDONED_MS = 86_400_000

/** Files that are asked for or removed at once, one by one. */
export const PARALLEL_REQUESTS = 50

/** Joins a storage's path and a key; either may be empty. */
export function joinKey(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('/')
}

/** Runs `action` for each item, at most `limit` at once, and keeps the order of the results. Rejects with the first error. */
export async function inParallel<In, Out>(
  items: readonly In[],
  limit: number,
  action: (item: In) => Promise<Out>,
): Promise<Out[]> {
  const results: Out[] = new Array(items.length)
  const entries = items.entries()
  const work = async () => {
    for (const [index, item] of entries) results[index] = await action(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
  return results
}

/** Length of what is to be written. */
export function bytesOf(content: Content): number {
  return 'bytes' in content ? content.bytes.length : content.size
}
