import fs from 'node:fs'
import { constants } from 'node:os'
import type { Database } from '../db/database.js'
import { FuseError } from '../fuse/errno.js'
import type { Context } from '../fuse/file-system.js'
import { DatabaseFile } from './database-file.js'
import type { MountFile } from './mount-file.js'

/** What is done to a file: its bytes are changed, it is made, it is cut to `size`, it is removed, it gets another name. */
export type Deed = 'write' | 'create' | 'remove' | 'rename' | { readonly size: number }

/** Who may change the databases: everybody on a primary, only the applier's process on a replica. A halt lock makes exceptions. */
export class Access {
  /** The one process that may write; undefined where all may. */
  onlyWriter: number | undefined
  /** On a primary, those that are another node's under the halt lock, with the process that writes what that node commits. */
  readonly #halted = new Map<Database, number>()
  readonly #rejected: (name: string, pid: number) => void

  /** `rejected` is told of each change of a database that is refused. */
  constructor(rejected: (name: string, pid: number) => void) {
    this.#rejected = rejected
  }

  /** Only the process `pid` may write this database from now on, or again everybody. */
  halt(database: Database, pid: number | undefined): void {
    if (pid === undefined) this.#halted.delete(database)
    else this.#halted.set(database, pid)
  }

  isHalted(database: Database): boolean {
    return this.#halted.has(database)
  }

  /** Ends all that halt locks allow and forbid, since the role changes. */
  forgetHalts(databases: Iterable<Database>): void {
    this.#halted.clear()
    for (const { committer } of databases) committer.forwarding.stop()
  }

  /**
   * Before a change of `file`. Throws EACCES, which is what SQLite makes a read-only database of. The wal-index is its readers' too, and
   * whoever opens a database in WAL mode creates its log. What was going on in a rollback journal when the role changed, or
   * its writer was killed, may be undone. Other files are not replicated, so that everybody may change them.
   */
  check(file: MountFile, { pid }: Context, deed: Deed = 'write'): void {
    if (!(file instanceof DatabaseFile)) return
    const { database, kind } = file
    const writer = this.#halted.get(database) ?? this.onlyWriter
    if (writer === undefined || writer === pid || isThreadOf(writer, pid)) return
    if (kind === 'shm' || (kind === 'wal' && deed === 'create')) return
    if (kind !== 'wal' && isUndo(database, writer)) return
    // A checkpoint changes nothing that anybody can see.
    if (this.#halted.has(database) && kind === 'database' && isOfPages(database, deed)) return
    if (database.committer.forwarding.active && isForwarded(database, kind, deed)) return
    this.#rejected(database.name, pid)
    throw new FuseError(constants.errno.EACCES)
  }
}

/** The kernel tells of the thread that asks; only the first of a process has its number. */
function isThreadOf(process: number, thread: number): boolean {
  return fs.existsSync(`/proc/${process}/task/${thread}`)
}

/** What SQLite does in a transaction, and nothing that has no journal or that would take the file itself away. */
function isForwarded(database: Database, kind: DatabaseFile['kind'], deed: Deed): boolean {
  if (deed === 'rename') return false
  if (kind === 'database') return isOfPages(database, deed)
  return true
}

/** Writing or cutting under a journal, or with a WAL; and cutting off what a transaction has given up, which SQLite does once that is committed. */
function isOfPages({ guarded, state: { pageSize, pageCount } }: Database, deed: Deed): boolean {
  if (typeof deed === 'object') return deed.size > 0 && (guarded || deed.size === pageCount * pageSize)
  return deed === 'write' && guarded
}

function isUndo(database: Database, writer: number): boolean {
  // Its locks are gone with it, before anybody is told.
  if (!database.finishing && isGone(writer) && !database.committer.forwarding.active) database.onlyUndo()
  return database.finishing
}

/** PF_EXITING of linux/sched.h: set before a process lets go of its descriptors, and of its locks with them. */
const PF_EXITING = 0x4

/** Whether there is no such process, or it is ending and its parent may not know yet. Throws a system error. */
function isGone(pid: number): boolean {
  try {
    return isEnding(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ESRCH') return true
    throw error
  }
}

/**
 * Of a process, as proc_pid_stat(5) has it: behind its name in parentheses follow state, ppid, pgrp, session, tty_nr, tpgid and flags. Who
 * was kept out by its locks comes before it is a zombie.
 */
export function isEnding(stat: string): boolean {
  const [state = '', , , , , , flags] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' || state === 'X' || (Number(flags) & PF_EXITING) !== 0
}
