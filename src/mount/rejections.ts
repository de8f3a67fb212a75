import fs from 'node:fs'
import type { Log } from '../log.js'
import type { Following } from './following.js'

/** Between two log lines about one database, milliseconds: an application may try again all the time. */
const QUIET_MS = 10_000

interface Rejected {
  count: number
  /** Those that no log line told of. */
  untold: number
  toldMs: number
}

/** The writes to a replica's databases that were refused. */
export class Rejections {
  readonly #following: Following
  readonly #log: Log
  readonly #byName = new Map<string, Rejected>()

  constructor(following: Following, log: Log) {
    this.#following = following
    this.#log = log
  }

  /** Since the start. */
  count(name: string): number {
    return this.#byName.get(name)?.count ?? 0
  }

  /** The process `pid` (0 for one of another pid namespace) wanted to change the database. */
  note(name: string, pid: number): void {
    const now = performance.now()
    const rejected = this.#byName.get(name) ?? { count: 0, untold: 0, toldMs: Number.NEGATIVE_INFINITY }
    this.#byName.set(name, rejected)
    rejected.count++
    rejected.untold++
    if (now - rejected.toldMs < QUIET_MS) return
    const { primary = 'none' } = this.#following
    const others = rejected.untold === 1 ? '' : `, ${rejected.untold - 1} other attempts since the last such line`
    this.#log.warn(`write to ${name} refused: this node is a replica, write on the primary (${primary})${others}`, {
      db: name,
      pid,
      command: commandOf(pid),
      primary,
    })
    rejected.untold = 0
    rejected.toldMs = now
  }
}

/** The name of the program, or of the thread, that a process runs; it may have ended already. */
function commandOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ESRCH') return 'unknown'
    throw error
  }
}
