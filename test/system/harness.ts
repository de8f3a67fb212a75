// What the system tests stand on: a real `litefs mount` in a child process. The daemon is another process than the
// test, so the test may touch the mount; whatever may hang there is still better done by a child with a time limit.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

export const litefsScript = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const LINE_TIMEOUT_MS = 20_000
const STOP_TIMEOUT_MS = 20_000
const RUN_TIMEOUT_MS = 60_000
const LAST_WORDS_MS = 100 // what a process printed may arrive after its end; its pipe may stay open in a child of its

/** Sections of `litefs.yml`, laid over the ones every test has, e.g. `{ data: { compress: false } }`. */
export type ConfigSections = Record<string, string | boolean | object>

export interface MountOptions {
  configExtra?: ConfigSections
  /** The directories of an earlier mount, to start again on them; fresh ones otherwise. */
  dataDir?: string
  mountDir?: string
  /** Words after `mount -config FILE`, e.g. `['--', 'node', 'server.js']`. */
  args?: string[]
  env?: NodeJS.ProcessEnv
  /** A command to start it with, which becomes it, e.g. `['nsenter', '--net=FILE']`. */
  via?: string[]
}

export interface Mount {
  /** The mount directory. */
  readonly dir: string
  readonly dataDir: string
  readonly pid: number
  /** Of the node API. */
  readonly url: string
  /** All that the daemon and the application under it printed so far. */
  output(): string
  /** SIGTERM; gives the exit code, null when a signal ended it. */
  stop(): Promise<number | null>
  /** Waits until it has ended by itself, and gives the exit code. */
  ended(): Promise<number | null>
  /** Sends the daemon, not its application, a signal that ends it. A killed daemon leaves a stale mount behind. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Resolves once this text was printed, at any time since the start. */
  waitForLine(text: string): Promise<void>
}

interface Output {
  text(): string
  waitFor(wanted: string): Promise<void>
}

/**
 * Starts `litefs mount` and waits until it is mounted. After the test the daemon and all below it are killed, the
 * mount is detached and the directories made here are removed, whatever happened.
 *
 * @param t the test whose end is the mount's end
 */
export async function startMount(
  t: { teardown(callback: () => Promise<void>): void },
  { configExtra = {}, dataDir, mountDir, args = [], env = process.env, via = [] }: MountOptions = {},
): Promise<Mount> {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-test-'))
  const dir = mountDir ?? path.join(base, 'mount')
  const data = dataDir ?? path.join(base, 'data')
  if (mountDir === undefined) await mkdir(dir)
  const configPath = path.join(base, 'litefs.yml')
  await writeFile(configPath, configText(dir, data, configExtra))

  // A process group of its own, so that the application under the daemon can be ended with it.
  const [command = '', ...words] = [...via, process.execPath, litefsScript, 'mount', '-config', configPath, ...args]
  const child = spawn(command, words, {
    detached: true,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(async () => {
    killGroup(child)
    await detach(dir)
    await rm(base, { recursive: true, force: true })
  })
  const exited = once(child, 'exit')
  const output = collectOutput(child)
  await output.waitFor('LiteFS mounted to:')
  return mountOf(child, exited, output, { dir, dataDir: data })
}

/** JSON, which is YAML too. A section given twice is merged key by key. */
function configText(mountDir: string, dataDir: string, extra: ConfigSections): string {
  const config: ConfigSections = {
    fuse: { dir: mountDir },
    data: { dir: dataDir },
    lease: { type: 'static', candidate: true },
    http: { addr: '127.0.0.1:0' },
  }
  for (const [name, section] of Object.entries(extra)) {
    const own = config[name]
    config[name] = typeof own === 'object' && typeof section === 'object' ? { ...own, ...section } : section
  }
  return JSON.stringify(config)
}

function mountOf(
  child: ChildProcess,
  exited: Promise<unknown[]>,
  output: Output,
  places: { dir: string; dataDir: string },
): Mount {
  const { pid } = child
  if (pid === undefined) throw new Error('Cannot use litefs: it has no process')
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    const timer = setTimeout(() => killGroup(child), STOP_TIMEOUT_MS)
    await exited
    clearTimeout(timer)
  }
  const [, url = ''] = /http server listening on: ([^\s"]+)/.exec(output.text()) ?? []
  return {
    ...places,
    pid,
    url,
    output: output.text,
    stop: async () => {
      await end('SIGTERM')
      return child.exitCode
    },
    ended: async () => {
      await exited
      return child.exitCode
    },
    kill: end,
    waitForLine: output.waitFor,
  }
}

function collectOutput(child: ChildProcess): Output {
  let printed = ''
  let ended = false
  const checks = new Set<() => void>()
  const checkAll = () => {
    for (const check of checks) check()
  }
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) throw new Error('Cannot read what litefs prints: it is not piped')
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      printed += chunk
      checkAll()
    })
  }
  child.on('exit', () =>
    setTimeout(() => {
      ended = true
      checkAll()
    }, LAST_WORDS_MS),
  )

  const waitFor = (wanted: string) =>
    new Promise<void>((resolve, reject) => {
      const settle = (problem?: string) => {
        clearTimeout(timer)
        checks.delete(check)
        if (problem === undefined) resolve()
        else reject(new Error(`Cannot see "${wanted}": ${problem}. It printed:\n${printed}`))
      }
      const check = () => {
        if (printed.includes(wanted)) settle()
        else if (ended) settle(`litefs ended with ${child.signalCode ?? `code ${child.exitCode}`}`)
      }
      const timer = setTimeout(() => settle(`not printed within ${LINE_TIMEOUT_MS} ms`), LINE_TIMEOUT_MS)
      checks.add(check)
      check()
    })
  return { text: () => printed, waitFor }
}

/** Kills the daemon and what it started. Nothing left of them is no error. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

/** Detaches a mount, a stale one too. */
async function detach(dir: string): Promise<void> {
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  if (!mounts.split('\n').some((line) => line.split(' ')[1] === dir)) return
  const { code, stderr } = await run('fusermount3', ['-u', '-z', dir])
  if (code !== 0) throw new Error(`Cannot detach ${dir}: ${stderr}`)
}

/** Runs a program to its end. An error when it cannot be started or exceeds its time; its exit code is a result. */
export async function run(
  command: string,
  args: string[],
  { input = '', timeoutMs = RUN_TIMEOUT_MS }: { input?: string; timeoutMs?: number } = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(command, args, { stdio: 'pipe' })
  const closed = once(child, 'close')
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  child.stdin.on('error', () => {}) // it ended before it read all; its exit code says why
  child.stdin.end(input)
  try {
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), closed])
    if (child.signalCode === 'SIGKILL') {
      throw new Error(`Cannot run ${command} ${args.join(' ')} within ${timeoutMs} ms: ${stderr}${stdout}`)
    }
    return { code: child.exitCode, stdout, stderr }
  } finally {
    clearTimeout(timer)
  }
}
