/** The files of a database in the directory where SQLite sees them: the mount, or any other. */
export interface DatabasePaths {
  readonly database: string
  readonly journal: string
  readonly wal: string
  readonly shm: string
}

/** The files beside `database`, named as SQLite names them. */
export function databasePaths(database: string): DatabasePaths {
  return { database, journal: `${database}-journal`, wal: `${database}-wal`, shm: `${database}-shm` }
}
