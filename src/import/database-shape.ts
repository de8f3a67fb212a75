import type { FileHandle } from 'node:fs/promises'
import { DATABASE_HEADER_SIZE, databasePageCount, parseDatabaseHeader } from '../sqlite/database-header.js'

/** A file that is no database, or cannot become this one. */
export class ImportError extends Error {
  override name = 'ImportError'
}

export interface DatabaseShape {
  /** Bytes. */
  readonly pageSize: number
  readonly pageCount: number
}

/**
 * Reads header and size of a SQLite file. Rejects with ImportError (`Cannot WHAT: reason`) when it has no header, or more or fewer bytes
 * than its pages.
 */
export async function readDatabaseShape(file: FileHandle, what: string): Promise<DatabaseShape> {
  const bytes = Buffer.alloc(DATABASE_HEADER_SIZE)
  await file.read(bytes, 0, bytes.length, 0)
  const header = parseDatabaseHeader(bytes)
  if (header === undefined) throw new ImportError(`Cannot ${what}: it is not a SQLite database`)
  const { size } = await file.stat()
  const { pageSize } = header
  const pageCount = databasePageCount(header, size)
  if (size !== pageCount * pageSize) {
    const expected = `${pageCount} pages of ${pageSize} bytes`
    throw new ImportError(`Cannot ${what}: it has ${size} bytes where its header says ${expected}`)
  }
  return { pageSize, pageCount }
}
