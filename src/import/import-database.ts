import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import path from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { type DatabaseShape, ImportError, readDatabaseShape } from './database-shape.js'

/** Bytes that an import may have: 1 TiB. */
const MAX_IMPORT_BYTES = 2 ** 40
const CHILD = fileURLToPath(new URL('./child.js', import.meta.url))

export interface ImportOptions {
  /** For what has come of the content. */
  readonly directory: string
  readonly mountDir: string
  /** Of the database, its path in the mount. */
  readonly name: string
  readonly signal: AbortSignal
}

/**
 * Replaces or makes a database of the mount with the SQLite file `content`. The content is first written to a file
 * in `directory` and looked at; until that is right, nothing changes. `signal` ends it. Rejects with ImportError, or a system error.
 */
export async function importDatabase(
  content: Readable,
  { directory, mountDir, name, signal }: ImportOptions,
): Promise<DatabaseShape> {
  const spool = await fs.mkdtemp(path.join(directory, 'import-'))
  const file = path.join(spool, 'database')
  try {
    await pipeline(content, limited(), (await fs.open(file, 'wx', 0o600)).createWriteStream())
    const shape = await checkDatabase(file)
    await copyIn([file, mountDir, name], signal)
    return shape
  } finally {
    await fs.rm(spool, { recursive: true, force: true })
  }
}

function limited(): Transform {
  let size = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      if (size > MAX_IMPORT_BYTES) done(new ImportError(`Cannot import: it is larger than ${MAX_IMPORT_BYTES} bytes`))
      else done(null, chunk)
    },
  })
}

async function checkDatabase(path: string): Promise<DatabaseShape> {
  const file = await fs.open(path)
  try {
    return await readDatabaseShape(file, 'import')
  } finally {
    await file.close()
  }
}

async function copyIn(words: readonly string[], signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, [CHILD, ...words], { stdio: ['ignore', 'ignore', 'pipe'] })
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill)
  try {
    const [stderr] = await Promise.all([text(child.stderr), once(child, 'close')])
    if (child.exitCode === 0) return
    const reason = stderr.trim() || `its process ended with ${child.signalCode ?? child.exitCode}`
    throw new ImportError(`Cannot import: ${reason}`)
  } finally {
    signal.removeEventListener('abort', kill)
  }
}
