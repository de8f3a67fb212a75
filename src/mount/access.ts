import { constants } from 'node:os'
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
   * whoever opens a database in WAL mode `creates` its log. What was going on in a rollback journal when the role changed may be undone. Other files are not replicated, so that everybody may change them.
   */
  check(file: MountFile, { pid }: Context, creates = false): void {
    if (this.onlyWriter === undefined || this.onlyWriter === pid || !(file instanceof DatabaseFile)) return
    if (file.kind === 'shm' || (file.kind === 'wal' && creates)) return
    if (file.database.finishing && file.kind !== 'wal') return
    this.#rejected(file.database.name, pid)
    throw new FuseError(constants.errno.EACCES)
  }
}
