import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { mount, openFuseDevice, receiveDescriptor, socketPair, unmount as umount2 } from '../native.js'
import { mountAt, mountPath } from './mount-table.js'

// linux/mount.h and umount2(2)
const MS_RDONLY = 1
const MS_NOSUID = 2
const MS_NODEV = 4
const MNT_DETACH = 2

const FUSERMOUNT = 'fusermount3'
/** How long a mount found at our place may take to show that it lives. */
const PROBE_MS = 5000

export interface MountOptions {
  /** An existing directory. */
  dir: string
  /** What /proc/mounts shows as the source. */
  fsname: string
  /** Lets other users in, not only the one who mounts. */
  allowOther: boolean
  /** Has the kernel check permissions by mode, uid and gid. */
  defaultPermissions: boolean
  readOnly: boolean
}

/**
 * Mounts a FUSE file system with mount(2) as root, by fusermount3 otherwise, and returns the device's descriptor,
 * non-blocking, which the caller serves and closes. Nothing answers before it is served.
 */
export function mountFuse(options: MountOptions): number {
  const dir = mountPath(options.dir)
  try {
    checkPlace(dir)
    return process.geteuid?.() === 0 ? mountAsRoot(dir, options) : mountAsUser(dir, options)
  } catch (cause) {
    throw new Error(`Cannot mount ${options.dir}: ${reason(cause)}`, { cause })
  }
}

function checkPlace(dir: string): void {
  if (!fs.existsSync('/dev/fuse')) {
    throw new Error('/dev/fuse is missing; load the fuse module, or give the container the device (--device /dev/fuse)')
  }
  const stats = fs.statSync(dir, { throwIfNoEntry: false })
  if (stats === undefined) throw new Error('the directory does not exist')
  if (!stats.isDirectory()) throw new Error('it is not a directory')
}

function mountAsRoot(dir: string, options: MountOptions): number {
  const fd = openFuseDevice()
  try {
    mount(options.fsname, dir, 'fuse', mountFlags(options), fuseData(fd, options))
  } catch (error) {
    fs.closeSync(fd)
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    throw new Error('mounting is not permitted; a container needs the capability SYS_ADMIN (--cap-add SYS_ADMIN)', {
      cause: error,
    })
  }
  return fd
}

/** The flags of mount(2). */
export function mountFlags({ readOnly }: MountOptions): number {
  return MS_NOSUID | MS_NODEV | (readOnly ? MS_RDONLY : 0)
}

/** The data of mount(2), where the device is descriptor `fd`. */
export function fuseData(fd: number, { allowOther, defaultPermissions }: MountOptions): string {
  const data = [`fd=${fd},rootmode=40000,user_id=${process.geteuid?.()},group_id=${process.getegid?.()}`]
  if (allowOther) data.push('allow_other')
  if (defaultPermissions) data.push('default_permissions')
  return data.join(',')
}

/** Has fusermount3 mount, and returns the device's descriptor. Looks at nothing itself. */
export function mountAsUser(dir: string, options: MountOptions): number {
  const words = [`fsname=${options.fsname}`, 'nosuid', 'nodev']
  if (options.allowOther) words.push('allow_other')
  if (options.defaultPermissions) words.push('default_permissions')
  if (options.readOnly) words.push('ro')
  const [ours, theirs] = socketPair()
  try {
    // The descriptor waits in the socket, so fusermount3 may end before we take it.
    const ended = spawnSync(FUSERMOUNT, ['-o', words.join(','), '--', dir], {
      stdio: ['ignore', 'ignore', 'pipe', theirs],
      env: { ...process.env, _FUSE_COMMFD: '3' },
      encoding: 'utf8',
    })
    if (ended.error !== undefined) throw missingFusermount(ended.error)
    if (ended.status !== 0) throw new Error(complaint(ended.stderr, ended.status))
    return receiveDescriptor(ours)
  } finally {
    fs.closeSync(ours)
    fs.closeSync(theirs)
  }
}

/**
 * Takes the mount at `dir` away; with `lazy` at once even when it is in use, and what is open keeps working. Throws
 * EBUSY's reason otherwise. Writing back what was mapped can need the server: without `lazy` call it on another thread
 * than the one that serves.
 */
export async function unmount(dir: string, options: { lazy: boolean }): Promise<void> {
  const place = mountPath(dir)
  try {
    if (process.geteuid?.() === 0) umount2(place, options.lazy ? MNT_DETACH : 0)
    else await unmountAsUser(place, options.lazy)
  } catch (cause) {
    throw new Error(`Cannot unmount ${dir}: ${reason(cause)}`, { cause })
  }
}

/** Not spawnSync: fusermount3 may look at the mount, which this very thread may be serving. */
export function unmountAsUser(place: string, lazy: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(FUSERMOUNT, [lazy ? '-uz' : '-u', '--', place], { stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.on('error', (error) => reject(missingFusermount(error)))
    child.on('close', (status) => (status === 0 ? resolve() : reject(new Error(complaint(stderr, status)))))
  })
}

/**
 * Detaches FUSE mounts at `dir` whose server is gone (ENOTCONN), as many as lie on one another. A FUSE file system
 * that lives there is an error; any other mount is left alone, to be mounted over. Returns how many were detached.
 */
export async function detachStale(dir: string): Promise<number> {
  for (let detached = 0; ; detached++) {
    const found = mountAt(dir)
    if (found === undefined || !/^fuse(blk)?(\.|$)/.test(found.type)) return detached
    if (!(await isDead(dir))) {
      throw new Error(`Cannot mount ${dir}: the file system ${found.source} (${found.type}) is already mounted there`)
    }
    await unmount(dir, { lazy: true })
  }
}

async function isDead(dir: string): Promise<boolean> {
  const given = new AbortController()
  // Not stat(2): the kernel may still have the attributes of the root directory, and answers for the dead.
  const answers = fs.promises.statfs(dir).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOTCONN' || error.code === 'ECONNABORTED',
  )
  // One that does not answer is not known to be dead.
  const silence = delay(PROBE_MS, false, { signal: given.signal }).catch(() => false)
  const dead = await Promise.race([answers, silence])
  given.abort()
  return dead
}

function missingFusermount(cause: NodeJS.ErrnoException): Error {
  if (cause.code !== 'ENOENT') return cause
  return new Error(`not root, and ${FUSERMOUNT} is not installed (package fuse3)`, { cause })
}

/** fusermount3 says `fusermount3: ...` for the user already. */
function complaint(stderr: string, status: number | null): string {
  const text = stderr.trim()
  return text === '' ? `${FUSERMOUNT} ended with ${status}` : text
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
