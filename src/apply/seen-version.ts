import { type DatabaseHeader, isWalMode } from '../sqlite/database-header.js'

/**
 * What connections may have cached of a database file while it had no log: content of any change counter up to this one. By that counter alone
 * they know whether their cache is good, once they look again and find no log. It goes back where a fork, a backup or another file took the
 * place of the database, so that the file itself does not tell how high it has been.
 */
export interface SeenVersion {
  /** Of the database file: another one is nobody's cache. */
  readonly inode: number
  readonly counter: number
}

/**
 * What they may have cached, by what was known before and the header that the database file has now. One that calls for a log is read through
 * that: what they know without one is older.
 */
export function seenVersion(inode: number, header: DatabaseHeader, known: SeenVersion | undefined): SeenVersion {
  const counter = isWalMode(header) ? (header.changeCounter - 1) >>> 0 : header.changeCounter
  return known?.inode === inode && !isLater(counter, known.counter) ? known : { inode, counter }
}

/** Compares change counters, of 32 bits, which begin again at zero after the last. */
export function isLater(counter: number, than: number): boolean {
  return ((counter - than) | 0) > 0
}

/** The change counter after this one. */
export function nextCounter(counter: number): number {
  return (counter + 1) >>> 0
}
