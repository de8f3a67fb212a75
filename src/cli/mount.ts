import os from 'node:os'
import { loadConfig } from '../config/load.js'
import { ConfigError } from '../config/problems.js'
import type { Config } from '../config/schema.js'
import { CommandLineError, splitWords } from '../config/words.js'
import type { Subprocess } from '../exec/subprocess.js'
import { type Command, FORWARDED_SIGNALS, type ForwardedSignal, Supervisor } from '../exec/supervisor.js'
import { describeError, type Log } from '../log.js'
import { createLog } from '../log-output.js'
import type { NodeOptions, RunningNode } from '../node.js'
import { VERSION } from './version.js'

export type StartNode = (config: Config, log: Log, options: NodeOptions) => Promise<RunningNode>

/** The command line of `litefs mount`. */
export interface MountArguments {
  configPath: string | undefined
  expandEnv: boolean
  skipUnmount: boolean
  fuseDebug: boolean
  debug: boolean
  tracing: boolean
  /** What follows `--`: replaces `exec`. */
  exec: readonly string[] | undefined
}

/** Configuration and command line are wrong. LiteFS exits with it for both. */
const EXIT_USAGE = 2

/** The start was broken off. */
const EXIT_INTERRUPTED = 1

/** How long a subprocess may take to end when its files have gone. */
const MOUNT_LOST_GRACE_MS = 10_000

/** Runs a node until it ends and resolves to the exit code. */
export async function mount(args: MountArguments, startNode: StartNode): Promise<number> {
  process.env['HOSTNAME'] ||= os.hostname()
  try {
    const { config, file, warnings } = loadConfig({
      path: args.configPath,
      env: args.expandEnv ? process.env : undefined,
    })
    const commands = args.exec === undefined ? configCommands(config) : [commandAfterDashes(args.exec)]
    const log = createLog({ ...config.log, debug: config.log.debug || args.debug })
    log.info(`LiteFS v${VERSION}`)
    log.info(`config file read from ${file}`)
    for (const warning of warnings) log.warn(warning)
    const supervisor = new Supervisor(log)
    const unlisten = listen((signal) => supervisor.deliver(signal))
    const life = new NodeLife(config, log, supervisor)
    const exitCode = await life.run(commands, () => startNode(config, log, nodeOptions(args, config)))
    unlisten()
    return exitCode
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof CommandLineError)) throw error
    process.stderr.write(`ERROR: ${error.message}\n`)
    return EXIT_USAGE
  }
}

function nodeOptions({ skipUnmount, fuseDebug, tracing }: MountArguments, config: Config): NodeOptions {
  return { skipUnmount, fuseDebug: fuseDebug || config.fuse.debug, traceToStdout: tracing }
}

function configCommands(config: Config): Command[] {
  return config.exec.map((command) => ({ argv: splitWords(command.cmd).words, ifCandidate: command['if-candidate'] }))
}

/** A single argument is a command line, as in `exec`; several are taken as the shell has split them. */
function commandAfterDashes(exec: readonly string[]): Command {
  const [only = ''] = exec
  const argv = exec.length === 1 ? splitWords(only).words : exec
  if (argv.length === 0) throw new CommandLineError('Cannot run what follows --: there is no command')
  return { argv, ifCandidate: false }
}

function listen(onSignal: (signal: ForwardedSignal) => void): () => void {
  const listeners = FORWARDED_SIGNALS.map((signal) => ({ signal, listener: () => onSignal(signal) }))
  for (const { signal, listener } of listeners) process.on(signal, listener)
  return () => {
    for (const { signal, listener } of listeners) process.off(signal, listener)
  }
}

/** From the start of a node to its end, in this order: node, commands, the last command's end, node. */
class NodeLife {
  readonly #config: Config
  readonly #log: Log
  readonly #supervisor: Supervisor
  #node: RunningNode | undefined
  #lost: Error | undefined

  constructor(config: Config, log: Log, supervisor: Supervisor) {
    this.#config = config
    this.#log = log
    this.#supervisor = supervisor
  }

  async run(commands: readonly Command[], startNode: () => Promise<RunningNode>): Promise<number> {
    let subprocess: Subprocess | undefined
    try {
      this.#node = await Promise.race([startNode(), this.#insisted()])
      if (this.#node === undefined) {
        this.#log.warn('litefs ends before its databases are recovered; the next start does it again')
        return EXIT_INTERRUPTED
      }
      this.#watch(this.#node)
      this.#log.info(`LiteFS mounted to: ${this.#config.fuse.dir}`)
      await this.#waitForSync(this.#node)
      if (!this.#supervisor.stopping.aborted) await this.#node.openProxy()
      subprocess = await this.#supervisor.start(commands, this.#node.isCandidate)
    } catch (error) {
      this.#log.error(describeError(error))
      if (this.#config['exit-on-error']) return await this.#stop(1)
      await this.#node?.closeProxy()
      this.#log.warn('staying up for a look inside, because exit-on-error is false')
    }
    this.#log.info('waiting for signal or subprocess to exit')
    const exitCode = subprocess === undefined ? await this.#waitForStop() : await this.#waitForEnd(subprocess)
    return await this.#stop(exitCode)
  }

  /** A replica's application starts with the primary's data, unless skip-sync says otherwise, or the node is to stop. */
  async #waitForSync({ synced }: RunningNode): Promise<void> {
    const { stopping } = this.#supervisor
    if (synced !== undefined && !this.#config['skip-sync']) {
      this.#log.info('waiting to connect to cluster')
      const stopped = new Promise<void>((resolve) => {
        if (stopping.aborted) resolve()
        else stopping.addEventListener('abort', () => resolve(), { once: true })
      })
      await Promise.race([synced, stopped])
    }
    if (!stopping.aborted) this.#log.info('connected to cluster, ready')
  }

  /** Whoever asks twice does not wait for a recovery: the next start does it again. */
  async #insisted(): Promise<undefined> {
    const { insisted } = this.#supervisor
    if (!insisted.aborted) await new Promise((resolve) => insisted.addEventListener('abort', resolve, { once: true }))
  }

  #watch(node: RunningNode): void {
    void node.ended.then(async (cause) => {
      this.#lost = new Error(`The mount at ${this.#config.fuse.dir} has gone`, cause && { cause })
      await this.#supervisor.terminate(this.#lost, MOUNT_LOST_GRACE_MS)
    })
  }

  async #waitForStop(): Promise<number> {
    const { stopping } = this.#supervisor
    // Signal listeners alone do not keep a process running.
    const keepAlive = setInterval(() => {}, 2 ** 30)
    if (!stopping.aborted) await new Promise((resolve) => stopping.addEventListener('abort', resolve, { once: true }))
    clearInterval(keepAlive)
    return 0
  }

  async #waitForEnd(subprocess: Subprocess): Promise<number> {
    const { exitCode, signal } = await subprocess.ended
    if (exitCode === 0) this.#log.info('subprocess exited successfully, litefs shutting down')
    else if (signal !== undefined) this.#log.info(`subprocess killed by ${signal}, litefs shutting down`)
    else this.#log.info(`subprocess exited with error code ${exitCode}, litefs shutting down`)
    return exitCode
  }

  async #stop(exitCode: number): Promise<number> {
    const lost = this.#lost
    if (lost !== undefined) this.#log.error(`${describeError(lost)}, litefs shutting down`)
    try {
      await this.#node?.stop()
    } catch (error) {
      this.#log.error(describeError(error))
      return exitCode || 1
    }
    this.#log.info('litefs shut down complete')
    return lost === undefined ? exitCode : 1
  }
}
