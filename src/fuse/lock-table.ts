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
