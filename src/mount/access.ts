import fs from 'node:fs'
import { constants } from 'node:os'
import type { Database } from '../db/database.js'
import { FuseError } from '../fuse/errno.js'
import type { Context } from '../fuse/file-system.js'
import { DatabaseFile } from './database-file.js'
import type { MountFile } from './mount-file.js'

/** Who may change the databases: everybody on a primary, only the applier's process on a replica. */
export class Access {
  /** The one process that may write; undefined where all may. A thread of its own would have another id: it has none that writes. */
  onlyWriter: number | undefined
  readonly #rejected: (name: string, pid: number) => void

  /** `rejected` is told of each change of a database that is refused. */
  constructor(rejected: (name: string, pid: number) => void) {
    this.#rejected = rejected
  }

  /**
   * Before a change of `file`. Throws EACCES, which is what SQLite makes a read-only database of. The wal-index is its readers' too, and
   * whoever opens a database in WAL mode `creates` its log. What was going on in a rollback journal when the role changed, or
   * its writer was killed, may be undone. Other files are not replicated, so that everybody may change them.
   */
  check(file: MountFile, { pid }: Context, creates = false): void {
    if (this.onlyWriter === undefined || this.onlyWriter === pid || !(file instanceof DatabaseFile)) return
    if (file.kind === 'shm' || (file.kind === 'wal' && creates)) return
    if (file.kind !== 'wal' && this.#isUndo(file.database)) return
    this.#rejected(file.database.name, pid)
    throw new FuseError(constants.errno.EACCES)
  }

  #isUndo(database: Database): boolean {
    // Its locks are gone with it, before anybody is told.
    if (!database.finishing && this.onlyWriter !== undefined && isGone(this.onlyWriter)) database.onlyUndo()
    return database.finishing
  }
}

/** Whether there is no such process, or it has ended and its parent does not know yet. Throws a system error. */
function isGone(pid: number): boolean {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
    // proc_pid_stat(5): the state follows the name in parentheses.
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ESRCH') return true
    throw error
  }
}
