// Programs that tests start: where they are, and what to install when they are not.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Teardown } from './process.js'

export const execute = promisify(execFile)

/** The paths of programs. Throws, naming the Debian packages that have them, when one is missing: what is skipped is not tested. */
export function needsPrograms(packages: string, ...names: string[]): string[] {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/usr/local/sbin']
  return names.map((name) => {
    const found = directories.map((directory) => path.join(directory, name)).find(isExecutable)
    if (found === undefined) throw new Error(`Cannot test without ${name}: apt-get install ${packages}`)
    return found
  })
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A directory that is removed after the test. */
export async function temporaryDirectory(t: Teardown, name: string): Promise<string> {
  const directory = await mkdtemp(path.join(os.tmpdir(), `litefs-${name}-`))
  t.teardown(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }))
  return directory
}

/** Whether a port of 127.0.0.1 takes connections. */
export async function connects(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
