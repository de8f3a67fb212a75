import assert from 'node:assert/strict'
import path from 'node:path'

/** The files of one database below `<data.dir>/dbs/<name>/`, named as LiteFS names them. */
export interface DatabaseLayout {
  readonly dir: string
  readonly database: string
  readonly journal: string
  readonly wal: string
  readonly shm: string
  readonly ltxDir: string
  /** Page checksums saved by a clean shutdown (ours, not LiteFS'). */
  readonly checksums: string
}

export function databaseLayout(dbsDir: string, name: string): DatabaseLayout {
  const dir = path.join(dbsDir, name)
  assert.equal(path.dirname(dir), path.normalize(dbsDir), `the directory of database ${name} lies in ${dbsDir}`)
  return {
    dir,
    database: path.join(dir, 'database'),
    journal: path.join(dir, 'journal'),
    wal: path.join(dir, 'wal'),
    shm: path.join(dir, 'shm'),
    ltxDir: path.join(dir, 'ltx'),
    checksums: path.join(dir, 'checksums'),
  }
}
