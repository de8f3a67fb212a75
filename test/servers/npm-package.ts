// An npm package that only tests need, and that has other parts on each platform: a lock file written on one of them does not suit
// another. It is fetched at the first use, with the machine's own npm configuration, and kept outside the repository.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

const TIMEOUT_MS = 120_000

/** A node_modules directory with the package in it. Rejects when it cannot be had. */
export async function npmPackage(name: string, version: string): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? '/var/tmp'
  const target = path.join(cache, 'litefs-servers', `${name}-${version}`)
  if (existsSync(target)) return path.join(target, 'node_modules')
  await mkdir(path.dirname(target), { recursive: true })
  const scratch = await mkdtemp(`${target}-`)
  try {
    const options = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund']
    const words = ['install', '--prefix', scratch, ...options, `${name}@${version}`]
    await promisify(execFile)('npm', words, { cwd: scratch, timeout: TIMEOUT_MS })
    // Whoever came first has won; a directory that is not empty is not replaced.
    await rename(scratch, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    })
    return path.join(target, 'node_modules')
  } catch (cause) {
    throw new Error(`Cannot get the npm package ${name}: it is tested only where npm can fetch it`, { cause })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
