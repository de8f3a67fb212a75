import { constants } from 'node:os'

/** The kernel refuses a reply whose errno is 512 or more, and the request would then wait for ever. */
const LARGEST_ERRNO = 511

const { EIO } = constants.errno

/** An answer to the application: a file system throws it, and the request fails with `errno` (positive). */
export class FuseError extends Error {
  readonly errno: number

  /** `errno` is one of `os.constants.errno`; `message` is for our own logs only. */
  constructor(errno: number, message = `errno ${errno}`, options?: ErrorOptions) {
    super(message, options)
    this.name = 'FuseError'
    this.errno = errno
  }
}

/**
 * The positive errno that answers for `error`: that of a FuseError or of a system error as Node throws them
 * (`code` 'ENOSPC', or a negative `errno`); undefined for anything else, which is a bug of ours.
 */
export function knownErrno(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  if (error instanceof FuseError) return withinRange(error.errno)
  const { code, errno } = error as NodeJS.ErrnoException
  const byCode = Object.entries(constants.errno).find(([name]) => name === code)
  if (byCode !== undefined) return byCode[1]
  return typeof errno === 'number' ? withinRange(Math.abs(errno)) : undefined
}

/** The positive errno that answers for `error`: EIO when it is neither a FuseError nor a system error. */
export function errnoOf(error: unknown): number {
  return knownErrno(error) ?? EIO
}

function withinRange(errno: number): number {
  return Number.isInteger(errno) && errno > 0 && errno <= LARGEST_ERRNO ? errno : EIO
}
