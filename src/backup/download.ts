import { createWriteStream } from 'node:fs'
import fs from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { BackupPath } from './backup-path.js'
import type { BackupFile } from './replica-layout.js'
import { StorageError } from './storage.js'

/** Tries in a row that bring no byte. */
const FRUITLESS_TRIES = 5
const FIRST_PAUSE_MS = 250

export interface DownloadOptions {
  readonly signal: AbortSignal
  /** Told of each piece that has arrived, bytes. */
  readonly onBytes: (count: number) => void
}

/**
 * Fetches a file of a backup into `target`, which must not be there. Goes on where a connection broke off. Rejects with StorageError, also when
 * it is not as long as it was when it was listed, and with system errors; `target` then has a part of it.
 */
export async function download(
  from: BackupPath,
  file: BackupFile,
  target: string,
  options: DownloadOptions,
): Promise<void> {
  const { signal, onBytes } = options
  // There is no range of nothing that a storage could be asked for.
  if (file.size === 0) return await fs.writeFile(target, '')
  let size = 0
  for (let fruitless = 0; ; ) {
    const start = size
    try {
      const count = (bytes: number) => {
        size += bytes
        onBytes(bytes)
      }
      await fetchFrom(from, file, target, start, count, signal)
      if (size === file.size) return
      throw new StorageError(`Cannot read ${from.urlOf(file)}: it ended after ${size} of ${file.size} bytes`, 'passing')
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof StorageError) || error.fault !== 'passing' || size > file.size) throw error
      fruitless = size > start ? 0 : fruitless + 1
      if (fruitless === FRUITLESS_TRIES) throw error
      // Not all that came may be in the file.
      const written = (await fs.stat(target).catch(() => undefined))?.size ?? 0
      onBytes(written - size)
      size = written
      await delay(FIRST_PAUSE_MS * 2 ** fruitless, undefined, { signal })
    }
  }
}

async function fetchFrom(
  from: BackupPath,
  file: BackupFile,
  target: string,
  offset: number,
  count: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  if (offset === file.size) return
  const chunks = await from.read(file, offset)
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      count(chunk.length)
      yield chunk
    }
  }
  await pipeline(Readable.from(counted(), { objectMode: false }), createWriteStream(target, { flags: 'a' }), { signal })
}
