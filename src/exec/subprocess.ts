import { type ChildProcess, spawn } from 'node:child_process'
import os from 'node:os'

/** How a process ended: the exit code a shell would report (128 plus the signal's number when it was killed). */
export interface Ending {
  exitCode: number
  signal: NodeJS.Signals | undefined
}

export interface Subprocess {
  /** Resolves when the process has gone; never rejects. */
  readonly ended: Promise<Ending>
  /** Sends a signal; nothing happens when the process has gone. */
  kill(signal: NodeJS.Signals): void
}

/**
 * Starts a program with our standard input, output, error and environment. `argv` has the program first.
 * Rejects with `Cannot start CMD: reason` when there is no such program.
 */
export async function startSubprocess(argv: readonly string[]): Promise<Subprocess> {
  const [program = '', ...args] = argv
  let child: ChildProcess
  try {
    child = spawn(program, args, { stdio: 'inherit' })
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject))
  } catch (cause) {
    throw new Error(`Cannot start ${program}: ${startFailure(cause)}`, { cause })
  }
  const ended = new Promise<Ending>((resolve) => {
    child.once('exit', (code, signal) => resolve(endingOf(code, signal)))
  })
  // Once the process runs, an 'error' only says that a signal did not arrive; `ended` says the rest.
  child.on('error', () => {})
  return { ended, kill: (signal) => void child.kill(signal) }
}

function endingOf(code: number | null, signal: NodeJS.Signals | null): Ending {
  if (signal !== null) return { exitCode: 128 + os.constants.signals[signal], signal }
  return { exitCode: code ?? 1, signal: undefined }
}

function startFailure(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ENOENT') return 'not found'
  if (code === 'EACCES') return 'permission denied'
  return cause instanceof Error ? cause.message : String(cause)
}
