import { spawn } from 'node:child_process'
import { once } from 'node:events'

const RUN_TIMEOUT_MS = 10 * 60_000
/** Who runs the suites when we are root: root may do what a file's mode forbids, and the suites test that. */
const NOBODY = 65534
export const ordinaryUser = process.getuid() === 0 ? { uid: NOBODY, gid: NOBODY } : {}

/** Groups of the programs that run now. */
const running = new Set()

/** Kills every program that runs: a signal to us does not reach them. */
export function killAll() {
  for (const pid of running) process.kill(-pid, 'SIGKILL')
}

/**
 * Runs a program to its end in a process group of its own, which is killed when the time is over.
 *
 * @returns {Promise<{ code: number | null, signal: string | null, timedOut: boolean, stdout: string, output: string }>}
 * `output` is standard output and standard error as they came
 */
export async function run(command, words, { timeoutMs = RUN_TIMEOUT_MS, ...options } = {}) {
  const child = spawn(command, words, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const result = { code: null, signal: null, timedOut: false, stdout: '', output: '' }
  child.stdout.setEncoding('latin1').on('data', (text) => {
    result.stdout += text
    result.output += text
  })
  child.stderr.setEncoding('latin1').on('data', (text) => {
    result.output += text
  })
  if (child.pid !== undefined) running.add(child.pid)
  const timer = setTimeout(() => {
    result.timedOut = true
    process.kill(-child.pid, 'SIGKILL')
  }, timeoutMs)
  try {
    const [code, signal] = await once(child, 'close')
    return Object.assign(result, { code, signal })
  } finally {
    clearTimeout(timer)
    running.delete(child.pid)
  }
}

/** As run; an error with the end of what it printed when it does not end with code 0. */
export async function runOrFail(command, words, options) {
  const result = await run(command, words, options)
  if (result.code === 0) return result
  const reason = result.timedOut ? 'it took too long' : `it ended with ${result.signal ?? `code ${result.code}`}`
  throw new Error(`Cannot run ${command} ${words.join(' ')}: ${reason}:\n${result.output.slice(-4000)}`)
}
