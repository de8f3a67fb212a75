import { Command } from 'commander'
import { type Subprocess, startSubprocess } from '../exec/subprocess.js'
import { FORWARDED_SIGNALS } from '../exec/supervisor.js'
import { type NodeOptions, nodeOf, withNodeOptions } from './node-options.js'

interface RunOptions extends NodeOptions {
  readonly promote: boolean
  readonly ifCandidate: boolean
  readonly withHaltLockOn?: string
  readonly verbose: boolean
}

/** `litefs run`: a command that needs the primary, or to write to a database here as if this were it. Ends with the command's exit code. */
export function runCommand(): Command {
  return withNodeOptions(
    new Command('run').description('run a command that writes: on the primary, or under the halt lock of a database'),
  )
    .usage('[options] -- COMMAND [ARGS...]')
    .option('--promote', 'make this node the primary first', false)
    .option('--if-candidate', 'run it only where the node may be primary, else end with success', false)
    .option(
      '--with-halt-lock-on <path>',
      'path of a database in the mount, which the command can write here on a replica too',
    )
    .option('-v, --verbose', 'tell what is done', false)
    .argument('<command...>', 'program and arguments')
    .action(async (argv: string[], options: RunOptions) => {
      process.exitCode = await run(argv, options)
    })
}

async function run(argv: readonly string[], options: RunOptions): Promise<number> {
  const { promote, ifCandidate, withHaltLockOn, verbose } = options
  const tell = (line: string) => {
    if (verbose) process.stderr.write(`${line}\n`)
  }
  const what = `run ${argv[0] ?? ''}`
  if (promote && withHaltLockOn !== undefined)
    throw new Error(
      `Cannot ${what}: -promote and -with-halt-lock-on exclude each other, the primary needs no halt lock`,
    )
  if (ifCandidate) {
    const { getInfo } = await import('./node-status.js')
    const { candidate } = await getInfo(await nodeOf(options), what)
    if (!candidate) {
      process.stderr.write('node is not eligible to become primary, exiting\n')
      return 0
    }
  }
  if (promote) {
    tell('promoting node to primary')
    const { post } = await import('./node-api.js')
    await post({ ...(await nodeOf(options)), path: '/promote', what: 'promote the node' })
    tell('node is the primary')
  }
  if (withHaltLockOn === undefined) {
    tell(`running: ${argv.join(' ')}`)
    return await runToEnd(argv)
  }
  const { takeHaltLock } = await import('../exec/halt-lock.js')
  tell('acquiring halt lock')
  const lock = await takeHaltLock(withHaltLockOn)
  try {
    tell(`running under the halt lock: ${argv.join(' ')}`)
    return await runToEnd(argv)
  } finally {
    lock.release()
    tell('halt lock released')
  }
}

/** Runs the command. Signals are for it, which decides what they mean, also those that come while it is being started. */
async function runToEnd(argv: readonly string[]): Promise<number> {
  let subprocess: Subprocess | undefined
  const early: NodeJS.Signals[] = []
  const listeners = FORWARDED_SIGNALS.map((signal) => ({
    signal,
    listener: () => (subprocess === undefined ? early.push(signal) : subprocess.kill(signal)),
  }))
  for (const { signal, listener } of listeners) process.on(signal, listener)
  try {
    subprocess = await startSubprocess(argv)
    for (const signal of early) subprocess.kill(signal)
    return (await subprocess.ended).exitCode
  } finally {
    for (const { signal, listener } of listeners) process.off(signal, listener)
  }
}
