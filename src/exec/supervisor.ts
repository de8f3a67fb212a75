import type { Log } from '../log.js'
import { type Ending, type Subprocess, startSubprocess } from './subprocess.js'

export interface Command {
  /** The program and its arguments, at least one word. */
  argv: readonly string[]
  /** Skip it on a node that cannot become primary. */
  ifCandidate: boolean
}

/** Signals a supervisor is interested in: the first two ask it to stop, the others are only passed on. */
export const FORWARDED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const
export type ForwardedSignal = (typeof FORWARDED_SIGNALS)[number]

/**
 * Runs the commands of one node's life and gives the process that is running the signals we get. It does not listen
 * for signals itself; the caller passes them to `deliver`.
 */
export class Supervisor {
  readonly #log: Log
  readonly #stop = new AbortController()
  readonly #insist = new AbortController()
  #current: Subprocess | undefined

  constructor(log: Log) {
    this.#log = log
  }

  /** Aborted once the node should end; the reason is the signal, or the Error given to `terminate`. */
  get stopping(): AbortSignal {
    return this.#stop.signal
  }

  /** Aborted when a stop is asked for again and no command runs: who can end without harm may end at once. */
  get insisted(): AbortSignal {
    return this.#insist.signal
  }

  /**
   * Runs all commands but the last to their end, in turn, and starts the last. Resolves to the last one, or to
   * undefined when there is none, it is skipped, or a stop was asked for meanwhile.
   * Rejects when a command cannot be started, or when one before the last fails: the message has its exit code.
   */
  async start(commands: readonly Command[], isCandidate: boolean): Promise<Subprocess | undefined> {
    for (const [index, { argv, ifCandidate }] of commands.entries()) {
      if (this.stopping.aborted) return undefined
      const shown = formatArgv(argv)
      if (ifCandidate && !isCandidate) {
        this.#log.info(`node is not a candidate, skipping command execution: ${shown}`)
      } else if (index < commands.length - 1) {
        this.#log.info(`executing command: ${shown}`)
        await this.#runToEnd(argv)
      } else {
        this.#log.info(`starting background subprocess: ${shown}`)
        return await this.#run(argv)
      }
    }
    return undefined
  }

  /**
   * Passes a signal to the running process. The first SIGINT or SIGTERM also starts the stop; the second kills.
   * Without a process SIGHUP starts the stop as well, since the terminal has gone.
   */
  deliver(signal: ForwardedSignal): void {
    const asksToStop = signal === 'SIGINT' || signal === 'SIGTERM' || (signal === 'SIGHUP' && !this.#current)
    const isRepeated = asksToStop && this.stopping.aborted
    if (asksToStop) this.#stop.abort(signal)
    if (this.#current === undefined) {
      if (isRepeated) this.#insistOn(signal)
      else if (asksToStop) this.#log.info('signal received, litefs shutting down', { signal })
      return
    }
    if (isRepeated) {
      this.#log.warn(`${signal} received again, killing exec process`)
      this.#current.kill('SIGKILL')
    } else {
      this.#log.info('sending signal to exec process', { signal })
      this.#current.kill(signal)
    }
  }

  /** Ends the running process because of `reason`: SIGTERM, and SIGKILL when it has not gone after `graceMs`. */
  async terminate(reason: Error, graceMs: number): Promise<void> {
    this.#stop.abort(reason)
    const process = this.#current
    if (process === undefined) return
    process.kill('SIGTERM')
    const timer = setTimeout(() => {
      this.#log.warn(`exec process still there after ${graceMs} ms, killing it`)
      process.kill('SIGKILL')
    }, graceMs)
    await process.ended
    clearTimeout(timer)
  }

  #insistOn(signal: ForwardedSignal): void {
    this.#log.warn(`${signal} received again, still shutting down`)
    this.#insist.abort(signal)
  }

  async #runToEnd(argv: readonly string[]): Promise<void> {
    const { exitCode, signal } = await (await this.#run(argv)).ended
    if (exitCode === 0 || this.stopping.aborted) return
    throw new Error(`Cannot run ${formatArgv(argv)}: ${formatEnding({ exitCode, signal })}`)
  }

  async #run(argv: readonly string[]): Promise<Subprocess> {
    const subprocess = await startSubprocess(argv)
    this.#current = subprocess
    void subprocess.ended.then(() => {
      this.#current = undefined
    })
    // What asked for the stop while the process was being started has not reached it.
    if (this.stopping.aborted) {
      subprocess.kill(typeof this.stopping.reason === 'string' ? stopSignal(this.stopping.reason) : 'SIGTERM')
    }
    return subprocess
  }
}

function stopSignal(reason: string): NodeJS.Signals {
  return FORWARDED_SIGNALS.find((signal) => signal === reason) ?? 'SIGTERM'
}

/** `CMD [ARGS]`, the way LiteFS logs a command. */
export function formatArgv([program = '', ...args]: readonly string[]): string {
  return `${program} [${args.join(' ')}]`
}

function formatEnding({ exitCode, signal }: Ending): string {
  return signal === undefined ? `exit code ${exitCode}` : `killed by ${signal}`
}
