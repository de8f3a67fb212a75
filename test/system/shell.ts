// The sqlite3 shell as a process that lives on between statements, or that is ended at a chosen system call.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

const ANSWER_TIMEOUT_MS = 20_000

/** A connection that stays open. It does not wait for locks: what stands in its way is an error. */
export class Shell {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown[]>
  #output = ''
  #count = 0
  #onOutput: () => void = () => {}

  constructor(file: string) {
    // Unbuffered, and errors in order with what is printed.
    const command = 'exec stdbuf -o0 sqlite3 -batch "$0" 2>&1'
    this.#child = spawn('sh', ['-c', command, file], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#closed = once(this.#child, 'close')
    this.#child.stdin?.on('error', () => {})
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#output += chunk
      this.#onOutput()
    })
  }

  /** Runs SQL and gives what it printed. Throws when SQLite reported an error. */
  async execute(sql: string): Promise<string> {
    const end = `end of ${++this.#count}\n`
    this.#child.stdin?.write(`${sql};\n.print ${end}`)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_TIMEOUT_MS)
    while (!this.#output.includes(end)) {
      const more = new Promise<'more'>((resolve) => {
        this.#onOutput = () => resolve('more')
      })
      const next = await Promise.race([more, this.#closed])
      if (next !== 'more') throw new Error(`Cannot run SQL: the shell has ended. It printed:\n${this.#output}`)
    }
    clearTimeout(timer)
    const printed = this.#output.slice(0, this.#output.indexOf(end))
    this.#output = this.#output.slice(this.#output.indexOf(end) + end.length)
    if (/error/i.test(printed)) throw new Error(`Cannot run SQL: ${printed}`)
    return printed
  }

  async close(): Promise<void> {
    this.#child.stdin?.end()
    await this.#closed
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }
}

/**
 * Runs SQL in a shell whose system calls strace meddles with.
 *
 * @param injection as in strace(1), e.g. `fdatasync:signal=SIGKILL:when=2`, which kills it in place of its second fdatasync
 */
export async function tracedShell(
  file: string,
  sql: string,
  injection: string,
): Promise<{ killed: boolean; stdout: string; stderr: string }> {
  const [calls = ''] = injection.split(':')
  const args = ['-f', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${injection}`]
  const child = spawn('strace', [...args, 'stdbuf', '-o0', 'sqlite3', '-batch', file], { stdio: 'pipe' })
  const closed = once(child, 'close')
  const timer = setTimeout(() => child.kill('SIGTERM'), ANSWER_TIMEOUT_MS)
  child.stdin.on('error', () => {})
  child.stdin.end(`${sql}\n`)
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  clearTimeout(timer)
  if (child.signalCode === 'SIGTERM')
    throw new Error(`Cannot run SQL within ${ANSWER_TIMEOUT_MS} ms: ${stderr}${stdout}`)
  return { killed: child.signalCode === 'SIGKILL', stdout, stderr }
}
