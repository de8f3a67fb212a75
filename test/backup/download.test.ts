// Connections that break while a backup is fetched, as a storage whose reads end early: real network faults come at no chosen byte.
import { readFile, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { BackupPath } from '../../src/backup/backup-path.js'
import { DirectoryStorage } from '../../src/backup/directory-storage.js'
import { download } from '../../src/backup/download.js'
import { StorageError } from '../../src/backup/storage.js'

const FILE = { level: 0, minTxid: 1n, maxTxid: 1n }

/** Each read breaks off after so many bytes: with an error, or as if it were the end. */
class BreakingStorage extends DirectoryStorage {
  readonly offsets: number[] = []
  readonly #limits: number[]

  constructor(directory: string, limits: number[]) {
    super(directory)
    this.#limits = limits
  }

  override async read(key: string, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>> {
    this.offsets.push(offset)
    const limit = this.#limits.shift() ?? Number.POSITIVE_INFINITY
    const chunks = await super.read(key, offset, length)
    return cut(chunks, Math.abs(limit), limit > 0)
  }
}

async function* cut(chunks: AsyncIterable<Uint8Array>, limit: number, tells: boolean): AsyncGenerator<Uint8Array> {
  let left = limit
  for await (const chunk of chunks) {
    yield chunk.subarray(0, left)
    left -= chunk.length
    if (left > 0) continue
    if (tells) throw new StorageError('Cannot read: the connection was cut', 'passing')
    return
  }
}

t.test('goes on where a connection broke off', async (t) => {
  const dir = t.testdir()
  const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251))
  const storage = new BreakingStorage(path.join(dir, 'backup'), [100_000, -50_000, 0.5, 60_000])
  const from = new BackupPath(storage, '')
  await from.create(FILE, { bytes: content }, 0)
  const file = { ...FILE, size: content.length, timeMs: 0 }
  let bytes = 0
  const signal = new AbortController().signal
  await download(from, file, path.join(dir, 'got'), { signal, onBytes: (count) => (bytes += count) })
  t.ok((await readFile(path.join(dir, 'got'))).equals(content))
  t.equal(bytes, content.length, 'what was lost on the way is not counted')
  t.equal(storage.offsets.length, 5)
  t.strictSame(
    [...storage.offsets].sort((a, b) => a - b),
    storage.offsets,
    'nothing is fetched again that has arrived',
  )
  t.equal(storage.offsets[0], 0)

  await truncate(path.join(dir, 'backup/ltx/0/0000000000000001-0000000000000001.ltx'), 200_000)
  const short = download(from, file, path.join(dir, 'short'), { signal, onBytes: () => {} })
  await t.rejects(short, /^Cannot read file:.*ltx: it ended after 200000 of 300000 bytes$/, 'after a few tries')
  const ended = new AbortController()
  ended.abort(new Error('stopped'))
  await writeFile(path.join(dir, 'aborted'), '')
  await t.rejects(
    download(from, file, path.join(dir, 'aborted'), { signal: ended.signal, onBytes: () => {} }),
    /stopped/,
  )
})
