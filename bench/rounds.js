import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const WARM_UP_SECONDS = 0.2
const REPLY_TIMEOUT_MS = 120_000
const SETUP_TIMEOUT_MS = 900_000 // some fill gigabytes
const childScript = fileURLToPath(new URL('child.js', import.meta.url))

/**
 * Measures one workload in all directories, in turn within each round, each round in the reverse order of the last,
 * so that what else the machine does hits all of them alike.
 *
 * @param {import('./workloads.js').Workload} workload
 * @param {{ name: string, path: string, database?: string }[]} directories the first is the one the others are
 *   compared with; `database`: a file there that is not to be created first
 * @param {{ rounds: number, seconds: number, signal: AbortSignal, rest?: () => Promise<void> }} options `rest`: waits, before each
 *   measurement, until nothing of the last one is going on
 * @returns {Promise<number[][]>} operations per second, per directory and round
 */
export async function measureWorkload(workload, directories, { rounds, seconds, signal, rest = async () => {} }) {
  const children = []
  try {
    for (const directory of directories) {
      const database = directory.database ?? `${workload.name}.db`
      children.push(await startChild(childScript, [workload.name, path.join(directory.path, database)], signal))
    }
    for (const child of children) await ask(child, { seconds: WARM_UP_SECONDS }, signal)
    const rates = directories.map(() => [])
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? [...directories.keys()] : [...directories.keys()].reverse()
      for (const index of order) {
        await rest()
        const result = await ask(children[index], { seconds }, signal)
        rates[index].push(result.operations / result.seconds)
      }
    }
    for (const child of children) await ask(child, { finish: true }, signal)
    return rates
  } finally {
    for (const child of children) child.kill('SIGKILL')
  }
}

/** Forks a script that says when it is ready. @param {string} script @param {string[]} words @param {AbortSignal} signal */
export async function startChild(script, words, signal) {
  const child = fork(script, words)
  try {
    await reply(child, signal, SETUP_TIMEOUT_MS)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return child
}

/** Sends a message to a child and resolves to its answer. */
export function ask(child, message, signal) {
  const answer = reply(child, signal)
  child.send(message)
  return answer
}

/** The child's next message; an error when it ends or stays silent instead. */
async function reply(child, signal, timeoutMs = REPLY_TIMEOUT_MS) {
  signal.throwIfAborted()
  const waiting = new AbortController()
  const stop = () => waiting.abort(signal.reason)
  signal.addEventListener('abort', stop)
  const timer = setTimeout(() => waiting.abort(new Error('Cannot finish the workload: no answer')), timeoutMs)
  try {
    const ended = once(child, 'exit', { signal: waiting.signal }).then(([code, killedBy]) => {
      throw new Error(`Cannot finish the workload: its process ended with ${killedBy ?? `code ${code}`}`)
    })
    const [message] = await Promise.race([once(child, 'message', { signal: waiting.signal }), ended])
    return message
  } catch (error) {
    throw waiting.signal.aborted ? waiting.signal.reason : error
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    waiting.abort()
  }
}
