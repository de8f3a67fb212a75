import { setTimeout as delay } from 'node:timers/promises'
import { type LockType, ofdSetLock } from '../native.js'
import { PENDING_BYTE, RESERVED_BYTE, SHARED_FIRST, SHARED_SIZE } from '../sqlite/locks.js'

/** Waits between two attempts at a lock that somebody else holds, milliseconds. */
const FIRST_WAIT_MS = 1
const LONGEST_WAIT_MS = 10
/** All of SQLite's lock bytes in a database file. */
const ALL_SIZE = SHARED_FIRST + SHARED_SIZE - PENDING_BYTE

/** A lock that others held for too long. Thrown where it must be told from other failures. */
export class BusyError extends Error {
  override name = 'BusyError'
}

/**
 * Tries again and again until `attempt` succeeds. No lock can be waited for: fcntl would block the thread, and SQLite's own waiting is
 * the same. Throws BusyError after `timeoutMs` milliseconds, and the reason of `signal` when that is aborted.
 */
export async function retry(
  attempt: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  for (let waitMs = FIRST_WAIT_MS; !(await attempt()); waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    if (performance.now() > deadlineMs) throw new BusyError(`Cannot ${what}: others have held it for ${timeoutMs} ms`)
    await delay(waitMs, undefined, { signal })
  }
}

/**
 * SQLite's locks on a database file that is open as `fd`, as open-file-description locks: they conflict with those of every SQLite
 * connection, also one of this process, and end when `fd` is closed.
 */
export class DatabaseLocks {
  readonly #fd: number

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Reads may begin; false while a writer is at work. */
  shared(): boolean {
    if (!this.#set('read', PENDING_BYTE, 1)) return false
    const taken = this.#set('read', SHARED_FIRST, SHARED_SIZE)
    this.#set('unlock', PENDING_BYTE, 1)
    return taken
  }

  /** With SHARED held: no other writer. */
  reserved(): boolean {
    return this.#set('write', RESERVED_BYTE, 1)
  }

  /** With RESERVED held: no new readers, and EXCLUSIVE once this returns true. On false PENDING may be held: try again, or unlock. */
  exclusive(): boolean {
    return this.#set('write', PENDING_BYTE, 1) && this.#set('write', SHARED_FIRST, SHARED_SIZE)
  }

  /** With SHARED held: whether nobody else has the database open. Nobody can begin to read then; when false, nobody has noticed. */
  alone(): boolean {
    return this.#set('write', SHARED_FIRST, SHARED_SIZE)
  }

  /** With EXCLUSIVE held: reads may begin again, and RESERVED stays. */
  downgrade(): void {
    this.#set('read', SHARED_FIRST, SHARED_SIZE)
    this.#set('unlock', PENDING_BYTE, 1)
  }

  unlock(): void {
    this.#set('unlock', PENDING_BYTE, ALL_SIZE)
  }

  #set(type: LockType, start: number, length: number): boolean {
    return ofdSetLock(this.#fd, type, start, length)
  }
}

/** Lets go of what an attempt has taken that did not get everything. */
export function releasing(locks: DatabaseLocks): false {
  locks.unlock()
  return false
}
