import assert from 'node:assert/strict'
import path from 'node:path'

/** The files of one database, named as LiteFS names them. */
export interface DatabaseLayout {
  readonly dir: string
  readonly database: string
  readonly journal: string
  readonly wal: string
  readonly shm: string
  readonly ltxDir: string
  /** Page checksums saved by a clean shutdown (ours, not LiteFS'). */
  readonly checksums: string
  /** Mode and owner of the database (ours); missing where nobody chose any. */
  readonly attributes: string
}

/**
 * Where a database lies in the data directory; `name` is its path in the mount. `my.db` is `dbs/my.db/`, as in LiteFS, and `a/b/my.db` is
 * `dirs/a/dirs/b/dbs/my.db/`: the same below the directory's own place, so that no name can be mistaken for another and none gets longer.
 */
export function databaseLayout(dataDir: string, name: string): DatabaseLayout {
  const parents = name.split('/')
  const last = parents.pop() ?? ''
  for (const part of [...parents, last]) assert(!['', '.', '..'].includes(part), `${name} is a path in the mount`)
  const dir = path.join(directoryLayout(dataDir, parents), 'dbs', last)
  return {
    dir,
    database: path.join(dir, 'database'),
    journal: path.join(dir, 'journal'),
    wal: path.join(dir, 'wal'),
    shm: path.join(dir, 'shm'),
    ltxDir: path.join(dir, 'ltx'),
    checksums: path.join(dir, 'checksums'),
    attributes: path.join(dir, 'attributes'),
  }
}

/** Where the databases of a directory of the mount lie: in `dbs/`, and those of its subdirectories in `dirs/`. */
export function directoryLayout(dataDir: string, names: readonly string[]): string {
  return path.join(dataDir, ...names.flatMap((name) => ['dirs', name]))
}
