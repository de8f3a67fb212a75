import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { openFuseDevice } from '../native.js'
import { fuseData, type MountOptions, mountAsUser, mountFlags, unmountAsUser } from './mountpoint.js'

const MNT_DETACH = 2

/**
 * Mounts in a directory of a mount that another thread of this process serves, and returns the device's descriptor. This process does not
 * look at the directory itself. Rejects with what prevents it.
 */
export async function mountInside(options: MountOptions): Promise<number> {
  if (process.geteuid?.() !== 0) return mountAsUser(options.dir, options)
  const fd = openFuseDevice()
  try {
    await run(['mount', options.fsname, options.dir, String(mountFlags(options)), fuseData(3, options)], fd)
    return fd
  } catch (error) {
    fs.closeSync(fd)
    throw new Error(`Cannot mount ${options.dir}`, { cause: error })
  }
}

/** Takes such a mount away, in use or not. Rejects with what prevents it. */
export async function unmountInside(dir: string): Promise<void> {
  if (process.geteuid?.() === 0) await run(['unmount', dir, String(MNT_DETACH)], 'ignore')
  else await unmountAsUser(dir, true)
}

async function run(words: readonly string[], fd: number | 'ignore'): Promise<void> {
  const script = fileURLToPath(new URL('mount-child.js', import.meta.url))
  const child = spawn(process.execPath, [script, ...words], { stdio: ['ignore', 'ignore', 'pipe', fd] })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  const [code, complaint] = await Promise.all([ended, text(child.stderr ?? Readable.from([]))])
  if (code !== 0) throw new Error(/^Error: .*$/m.exec(complaint)?.[0] ?? complaint.trim())
}
