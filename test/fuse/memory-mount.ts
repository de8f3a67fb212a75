// A MemoryFileSystem mounted for one test, and clients for it. Every client of the mount is a child process with a
// time limit, so that whatever hangs fails the test instead of stopping it.
import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isMounted, mountAt } from '../../src/fuse/mount-table.js'
import type { ServerMessage, ServerOptions } from './memory-server.js'

const SERVER = fileURLToPath(new URL('memory-server.ts', import.meta.url))
const CLIENT_MS = 20_000

interface Teardown {
  teardown(callback: () => Promise<void>): void
}

export interface MemoryMount {
  readonly dir: string
  readonly server: ChildProcess
  /** What onError, the device and stderr reported. */
  readonly errors: string[]
  /** Each request, with `record`. */
  readonly requests: Buffer[]
  counts(): Promise<Record<string, number>>
}

/** A directory to mount at, unmounted (however many times it was mounted) and removed after the test. */
export function mountDirectory(t: Teardown, name = 'mount'): string {
  const base = fs.mkdtempSync(path.join(os.tmpdir(), 'litefs-fuse-'))
  const dir = path.join(base, name)
  fs.mkdirSync(dir)
  fs.chmodSync(base, 0o755)
  t.teardown(async () => {
    while (isMounted(dir)) await promisify(execFile)('umount', ['-l', mountAt(dir)?.dir ?? dir])
    fs.rmdirSync(dir)
    fs.rmdirSync(base)
  })
  return dir
}

/** Starts a server in a child process and waits until it has mounted. */
export async function startMemoryMount(
  t: Teardown,
  dir: string,
  { uid, ...changes }: Partial<ServerOptions> & { uid?: number } = {},
): Promise<MemoryMount> {
  const options: ServerOptions = { dir, forwardLocks: false, allowOther: false, record: false, ...changes }
  const server = fork(SERVER, [JSON.stringify(options)], {
    execArgv: process.execArgv.filter((argument) => argument.endsWith('=tsx')),
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  t.teardown(async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    server.kill('SIGKILL')
    await once(server, 'exit')
  })
  const mount: MemoryMount = { dir, server, errors: [], requests: [], counts: () => counts(server) }
  server.on('message', ({ hex, error }: ServerMessage) => {
    if (hex !== undefined) mount.requests.push(Buffer.from(hex, 'hex'))
    if (error !== undefined) mount.errors.push(error)
  })
  server.stderr?.setEncoding('utf8').on('data', (text: string) => mount.errors.push(text))
  const exit = once(server, 'close').then(([code]) => {
    throw new Error(`Cannot start the server: it ended with ${code}: ${mount.errors.join()}`)
  })
  await Promise.race([waitFor(server, ({ ready }) => ready), exit])
  exit.catch(() => {})
  return mount
}

/** Runs a shell script with the mount as $1; rejects unless it succeeds in time. Returns what it printed. */
export async function sh(
  script: string,
  dir: string,
  credentials: { uid?: number; gid?: number } = {},
): Promise<string> {
  const options = { timeout: CLIENT_MS, maxBuffer: 1 << 24, ...credentials }
  const { stdout } = await promisify(execFile)('sh', ['-euc', script, 'sh', dir], options)
  return stdout
}

function counts(server: ChildProcess): Promise<Record<string, number>> {
  const answer = waitFor(server, ({ counts }) => counts)
  server.send('counts')
  return answer
}

function waitFor<T>(server: ChildProcess, wanted: (message: ServerMessage) => T | undefined): Promise<T> {
  return new Promise((resolve) => {
    const listen = (message: ServerMessage) => {
      const value = wanted(message)
      if (value === undefined) return
      server.off('message', listen)
      resolve(value)
    }
    server.on('message', listen)
  })
}
