import fs from 'node:fs'
import { ofdSetLock } from '../native.js'

/** LiteFS' halt lock: this byte of the file that has the database's name and this suffix. */
const HALT_BYTE = 72
const LOCK_SUFFIX = '-lock'
/** Between two attempts at a lock that another program of this node has, and how long that may go on, milliseconds. */
const PAUSE_MS = 20
const PATIENCE_MS = 10_000

const REASONS: Record<string, string> = {
  EHOSTUNREACH: 'there is no primary, or it does not answer; litefs status says what this node knows',
  EACCES: 'the primary refuses it; the log of litefs mount says why',
  EIO: 'the node failed; the log of litefs mount says why',
}

/** A held lock of a database; closing it, or ending, releases it. */
export interface CliHaltLock {
  release(): void
}

/**
 * Takes the halt lock of the database at `path` in a mount of this machine, and waits for it. Rejects with what prevents it and what to do.
 */
export async function takeHaltLock(path: string): Promise<CliHaltLock> {
  const what = `Cannot take the halt lock of ${path}`
  if (!fs.existsSync(path)) throw new Error(`${what}: there is no such database`)
  const fd = openLock(path, what)
  const deadlineMs = performance.now() + PATIENCE_MS
  try {
    while (!attempt(fd, what)) {
      if (performance.now() > deadlineMs)
        throw new Error(
          `${what}: other programs, or writers on the primary, have kept it for ${PATIENCE_MS / 1000} s; try again`,
        )
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
  return {
    release: () => {
      // Unlike closing it waits until the primary's writers can go on.
      ofdSetLock(fd, 'unlock', HALT_BYTE, 1)
      fs.closeSync(fd)
    },
  }
}

function openLock(path: string, what: string): number {
  try {
    return fs.openSync(path + LOCK_SUFFIX, 'r+')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new Error(`${what}: it has no file ${path}${LOCK_SUFFIX}; give the path of a database in a mount of litefs`)
    throw new Error(what, { cause: error })
  }
}

/** False where somebody else has it. */
function attempt(fd: number, what: string): boolean {
  try {
    return ofdSetLock(fd, 'write', HALT_BYTE, 1)
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? REASONS[String(error.code)] : undefined
    throw reason === undefined ? new Error(what, { cause: error }) : new Error(`${what}: ${reason}`)
  }
}
