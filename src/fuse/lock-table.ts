import fs from 'node:fs'

/** The number of a file's file system as /proc/locks spells it, e.g. `00:27`, from the decimal `0:39` of mountinfo. */
export function lockTableDevice(device: string): string {
  return device
    .split(':')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':')
}

/** What the kernel's lock table holds now (proc_locks(5)). Waits for nobody. Throws a system error. */
export function readLockTable(): string {
  return fs.readFileSync('/proc/locks', 'latin1')
}

/** Descriptors of a process from which on its locks are not gathered one by one: that would take longer than reading the whole table. */
const MOST_DESCRIPTORS = 256
/** The process, or its descriptor, is gone; or it is somebody else's, and we are not root. */
const HIDDEN = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM']

/**
 * Lines of the lock table that are of a process or thread `pid`, from what the kernel tells of its descriptors (proc_pid_fdinfo(5)). Undefined
 * where that cannot be seen, or would take long. To give out the whole table the kernel first waits until all processors have
 * passed through it: 13 ms where it has not been read lately, this 0.2. Throws a system error.
 */
export function readLocksOf(pid: number): string | undefined {
  const directory = `/proc/${pid}`
  // Of the others some, epoll's for one, are not told of while a thread is at work on them: it may be waiting for us.
  const isFile = (descriptor: string) => fs.readlinkSync(`${directory}/fd/${descriptor}`).startsWith('/')
  try {
    const descriptors = fs.readdirSync(`${directory}/fd`)
    if (descriptors.length > MOST_DESCRIPTORS) return undefined
    const texts = descriptors
      .filter(isFile)
      .map((descriptor) => fs.readFileSync(`${directory}/fdinfo/${descriptor}`, 'latin1'))
    return texts.flatMap((text) => [...text.matchAll(/^lock:\t(.*)$/gm)].map(([, line]) => line)).join('\n')
  } catch (error) {
    if (error instanceof Error && 'code' in error && HIDDEN.includes(String(error.code))) return undefined
    throw error
  }
}

/**
 * Whether somebody holds an exclusive fcntl lock on any byte of a range, of a process's own or of an open file's. Fields of a line:
 * number, `->` for who only waits, kind, ADVISORY, READ or WRITE, process, device:inode, first byte, last byte or EOF.
 * Processes of other pid namespaces are left out by the kernel.
 *
 * @param device as lockTableDevice gives it
 */
export function isWriteLocked(table: string, device: string, inode: number, start: number, length: number): boolean {
  const file = `${device}:${inode}`
  for (const line of table.split('\n')) {
    if (!line.includes(file)) continue
    const [, kind, , mode, , place, first, last] = line.split(/\s+/)
    if (place !== file || mode !== 'WRITE' || (kind !== 'POSIX' && kind !== 'OFDLCK')) continue
    if (Number(first) < start + length && (last === 'EOF' || Number(last) >= start)) return true
  }
  return false
}
