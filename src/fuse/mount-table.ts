import fs from 'node:fs'
import path from 'node:path'

/** One line of /proc/self/mountinfo. */
export interface MountedAt {
  /** Absolute, without symbolic links. */
  dir: string
  /** `fuse` of litefs, `ext4`, ... */
  type: string
  /** What /proc/mounts shows first: `litefs`, a device, ... */
  source: string
  /** Number of the file system, `major:minor`, decimal. */
  device: string
}

/**
 * The mounts of proc(5)'s mountinfo text, in order: of several at one directory the last is the visible one. Fields
 * are separated by spaces: 3 is the device and 5 the directory; after a lone `-` come type and source.
 */
export function parseMountinfo(text: string): MountedAt[] {
  const mounts: MountedAt[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    const separator = fields.indexOf('-', 6)
    const [device, dir, type, source] = [fields[2], fields[4], fields[separator + 1], fields[separator + 2]]
    if (separator < 0 || device === undefined || dir === undefined || type === undefined || source === undefined)
      continue
    mounts.push({ dir: unescapeOctal(dir), type: unescapeOctal(type), source: unescapeOctal(source), device })
  }
  return mounts
}

/** The visible mount at just this directory, if one is there. Does not touch the mount itself, dead or alive. */
export function mountAt(dir: string): MountedAt | undefined {
  const place = mountPath(dir)
  // The file has no size to read by, and the kernel gives a consistent view of it in one pass.
  return parseMountinfo(fs.readFileSync('/proc/self/mountinfo', 'utf8')).findLast((mount) => mount.dir === place)
}

/** Whether something is mounted at just this directory. */
export function isMounted(dir: string): boolean {
  return mountAt(dir) !== undefined
}

/** `dir` absolute and with its parents' symbolic links resolved; the last component is not looked at, as it may be dead. */
export function mountPath(dir: string): string {
  const absolute = path.resolve(dir)
  if (absolute === '/') return absolute
  try {
    return path.join(fs.realpathSync(path.dirname(absolute)), path.basename(absolute))
  } catch {
    // Nothing can be found at a path whose parents cannot: whoever uses it will say so.
    return absolute
  }
}

/** Space, tab, newline and backslash stand as a backslash and three octal digits of a byte. */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
