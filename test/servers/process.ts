// Servers that tests start for themselves: on loopback, at free ports, ended by pid when the test ends.
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout } from 'node:timers/promises'

const START_MS = 20_000
const POLL_MS = 25
const KEPT_OUTPUT = 16_000

export interface ServerProcess {
  readonly pid: number
  /** Ends it, by default without asking it. */
  stop(signal?: NodeJS.Signals): Promise<void>
}

/** Where a server listens, and the words that run a command there. */
export interface ServerPlace {
  readonly address: string
  readonly via: readonly string[]
}

export const HERE: ServerPlace = { address: '127.0.0.1', via: [] }

export interface Teardown {
  teardown(callback: () => Promise<void> | void): void
}

/** Starts a program and waits until `isReady` gives true. An error with its last words when it ends before, or is not ready in time. */
export async function startServer(
  t: Teardown,
  [command = '', ...args]: readonly string[],
  isReady: () => Promise<boolean>,
): Promise<ServerProcess> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  let failure: Error | undefined
  child.once('error', (error) => {
    failure = error
  })
  const stop = async (signal: NodeJS.Signals = 'SIGKILL') => {
    child.kill(signal)
    await ended
  }
  t.teardown(() => stop())
  const lastWords = collect(child)
  for (const until = Date.now() + START_MS; !(await isReady().catch(() => false)); await setTimeout(POLL_MS)) {
    if (failure !== undefined) throw new Error(`Cannot start ${command}`, { cause: failure })
    const hasEnded = child.exitCode !== null || child.signalCode !== null
    if (hasEnded) throw new Error(`Cannot use ${command}: it ended with ${child.exitCode}: ${lastWords()}`)
    if (Date.now() > until) throw new Error(`Cannot use ${command}: not ready in ${START_MS} ms: ${lastWords()}`)
  }
  if (child.pid === undefined) throw new Error(`Cannot use ${command}: it has no process`)
  return { pid: child.pid, stop }
}

function collect({ stdout, stderr }: ChildProcess): () => string {
  let output = ''
  for (const stream of [stdout, stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-KEPT_OUTPUT)
    })
  }
  return () => output
}
