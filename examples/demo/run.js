import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

const TIMEOUT_MS = 30_000

/**
 * Runs a program to its end and gives what it wrote to its standard output.
 *
 * @param {string} command
 * @param {string[]} words
 * @param {{ input?: string, signal: AbortSignal }} options
 */
export async function run(command, words, { input = '', signal }) {
  const child = spawn(command, words, { signal, timeout: TIMEOUT_MS })
  const closed = once(child, 'close')
  child.stdin.on('error', () => {}) // it ended before it read all; its exit code says why
  child.stdin.end(input)
  try {
    const [stdout, stderr, [code, killedBy]] = await Promise.all([text(child.stdout), text(child.stderr), closed])
    if (code !== 0) throw new Error(`it ended with ${killedBy ?? `code ${code}`}: ${stderr}${stdout}`)
    return stdout
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    throw new Error(`Cannot run ${command} ${words.join(' ')}: ${cause.message}`, { cause })
  }
}
