import fs from 'node:fs'
import { mountPath } from './mount-table.js'

/** A process that keeps a mount busy, with one of the paths by which it does. */
export interface Holder {
  pid: number
  /** The command's name of at most 15 bytes, as ps shows it. */
  name: string
  path: string
}

/**
 * The processes with a file, working directory or root directory on the mount at `dir`, this one among them, as far as
 * /proc lets us see: as root all of them. Reads links in /proc only, so it cannot wait for the mount. A process in
 * another mount namespace may have the mount under another path, and is then not seen.
 */
export function holdersOf(dir: string): Holder[] {
  const place = mountPath(dir)
  const holders: Holder[] = []
  for (const entry of list('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const process = `/proc/${entry}`
    const held = heldPaths(process).find((path) => path === place || path.startsWith(`${place}/`))
    if (held === undefined) continue
    holders.push({ pid: Number(entry), name: commandName(process), path: held.replace(/ \(deleted\)$/, '') })
  }
  return holders
}

function heldPaths(process: string): string[] {
  const links = [`${process}/cwd`, `${process}/root`, ...list(`${process}/fd`).map((fd) => `${process}/fd/${fd}`)]
  return links.map(readLink).filter((path) => path !== undefined)
}

// Processes and descriptors come and go while we look, and other users' are hidden from us: both count as not there.

function list(dir: string): string[] {
  try {
    return fs.readdirSync(dir)
  } catch (error) {
    return ifGone(error, [])
  }
}

function readLink(link: string): string | undefined {
  try {
    return fs.readlinkSync(link)
  } catch (error) {
    return ifGone(error, undefined)
  }
}

function commandName(process: string): string {
  try {
    return fs.readFileSync(`${process}/comm`, 'utf8').trimEnd()
  } catch (error) {
    return ifGone(error, '')
  }
}

function ifGone<T>(error: unknown, otherwise: T): T {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return otherwise
  throw error
}
