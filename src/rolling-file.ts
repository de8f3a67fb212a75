import {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { readdir, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

export interface RollingFileOptions {
  path: string
  /** A file that would grow beyond this is put aside first. */
  maxSizeBytes: number
  /** Files put aside beyond this number are deleted, the oldest first. 0 keeps all. */
  maxCount: number
  /** Whether files put aside are compressed with gzip. */
  compress: boolean
}

const ROLLED = /^-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}$/

/**
 * An append-only file that is put aside as `NAME-2026-01-31T23-59-59.999.EXT[.gz]` (UTC) when it is full, as LiteFS'
 * trace is. Writing and rolling are synchronous; compressing and deleting happen behind, one pass at a time.
 */
export class RollingFile {
  readonly #options: RollingFileOptions
  readonly #onTidyError: (error: unknown) => void
  #fd: number
  #size: number
  #tidying: Promise<void> | undefined
  #tidyAgain = false

  /** Opens the file for appending and makes its directory. Throws what the file system throws. */
  constructor(options: RollingFileOptions, onTidyError: (error: unknown) => void) {
    this.#options = options
    this.#onTidyError = onTidyError
    mkdirSync(path.dirname(options.path), { recursive: true })
    this.#fd = openSync(options.path, 'a', 0o600)
    this.#size = fstatSync(this.#fd).size
    this.#tidy()
  }

  write(data: Uint8Array): void {
    if (this.#size > 0 && this.#size + data.length > this.#options.maxSizeBytes) this.#roll()
    for (let offset = 0; offset < data.length; ) offset += writeSync(this.#fd, data, offset)
    this.#size += data.length
  }

  /** Resolves when the files put aside are tidied as well. */
  async close(): Promise<void> {
    closeSync(this.#fd)
    await this.#tidying
  }

  #roll(): void {
    renameSync(this.#options.path, this.#freeName())
    const full = this.#fd
    this.#fd = openSync(this.#options.path, 'a', 0o600)
    closeSync(full)
    this.#size = 0
    this.#tidy()
  }

  #freeName(): string {
    const { dir, name, ext } = path.parse(this.#options.path)
    for (let ms = Date.now(); ; ms++) {
      const stamp = new Date(ms).toISOString().replaceAll(':', '-').replace('Z', '')
      const rolled = path.join(dir, `${name}-${stamp}${ext}`)
      if (!existsSync(rolled) && !existsSync(`${rolled}.gz`)) return rolled
    }
  }

  #tidy(): void {
    this.#tidyAgain = true
    this.#tidying ??= this.#tidyUntilDone().finally(() => {
      this.#tidying = undefined
    })
  }

  async #tidyUntilDone(): Promise<void> {
    while (this.#tidyAgain) {
      this.#tidyAgain = false
      try {
        await tidy(this.#options)
      } catch (error) {
        this.#onTidyError(error)
      }
    }
  }
}

/** Deletes the files put aside that are too many and compresses the rest, those a crash left behind included. */
async function tidy({ path: file, maxCount, compress }: RollingFileOptions): Promise<void> {
  const { dir, name, ext } = path.parse(file)
  const rolled = (await readdir(dir === '' ? '.' : dir))
    .filter((entry) => {
      const plain = entry.endsWith('.gz') ? entry.slice(0, -3) : entry
      return (
        plain.startsWith(name) && plain.endsWith(ext) && ROLLED.test(plain.slice(name.length, -ext.length || undefined))
      )
    })
    .sort()
    .reverse()
  for (const [index, entry] of rolled.entries()) {
    const rolledPath = path.join(dir, entry)
    if (maxCount > 0 && index >= maxCount) await unlink(rolledPath)
    else if (compress && !entry.endsWith('.gz')) await compressFile(rolledPath)
  }
}

async function compressFile(file: string): Promise<void> {
  const part = `${file}.part`
  await pipeline(createReadStream(file), createGzip(), createWriteStream(part, { mode: 0o600 }))
  await rename(part, `${file}.gz`)
  await unlink(file)
}
