import v8 from 'node:v8'
import { Command, CommanderError } from 'commander'
import { fromGoFlags, splitAtDashes } from './go-flags.js'
import type { MountArguments, StartNode } from './mount.js'
import { VERSION } from './version.js'

export interface ProgramParts {
  startNode: StartNode
  /** Commands that need no node. */
  commands: readonly Command[]
}

/** LiteFS exits with it when the command line is wrong. */
const EXIT_USAGE = 2
const VERSION_LINE = `LiteFS v${VERSION}`

/** Runs the command line (without node and script) and resolves to the exit code. Errors are on standard error. */
export async function runProgram(args: readonly string[], parts: ProgramParts): Promise<number> {
  const { head, tail } = splitAtDashes(args)
  let exitCode: number | undefined
  const program = new Command('litefs')
    .description('A file system that replicates SQLite databases.')
    .version(VERSION_LINE, '--version', 'print the version')
    .enablePositionalOptions()
  const mountCommand = createMountCommand(tail, async (mountArgs) => {
    // What the heap's young generation grows to at the start is never given back, and never needed again.
    v8.setFlagsFromString('--semi-space-growth-factor=1')
    // Loaded when it is needed, with all that reads configurations: the other commands start faster without.
    const { mount } = await import('./mount.js')
    exitCode = await mount(mountArgs, parts.startNode)
  })
  program.addCommand(mountCommand)
  program.addCommand(createVersionCommand())
  for (const command of parts.commands) program.addCommand(command)
  for (const command of everyCommand(program)) command.exitOverride()

  const operands = tail === undefined || head[0] === 'mount' ? [] : ['--', ...tail]
  try {
    await program.parseAsync([...fromGoFlags(head, switchNames(program)), ...operands], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
    throw error
  }
  // Commands without a life of their own leave their exit code in the process.
  return exitCode ?? Number(process.exitCode ?? 0)
}

function createMountCommand(
  exec: readonly string[] | undefined,
  run: (args: MountArguments) => Promise<void>,
): Command {
  return new Command('mount')
    .description('mount the file system and run a command on it')
    .usage('[options] [-- COMMAND [ARGS...]]')
    .option('--config <path>', 'configuration file (default: ./litefs.yml, ~/litefs.yml, /etc/litefs.yml)')
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
    .option('--skip-unmount', 'do not unmount what a former run left behind', false)
    .option('--fuse.debug', 'log every request of the kernel', false)
    .option('--debug', 'log details', false)
    .option('--tracing', 'write a line per file operation to standard output', false)
    .addHelpText('after', '\nOptions may be written with one dash. COMMAND replaces `exec` of the configuration file.')
    .action(async (options) => {
      await run({
        configPath: options.config,
        expandEnv: options.expandEnv,
        skipUnmount: options.skipUnmount,
        fuseDebug: options['fuse.debug'],
        debug: options.debug,
        tracing: options.tracing,
        exec,
      })
    })
}

function createVersionCommand(): Command {
  return new Command('version').description('print the version').action(() => {
    process.stdout.write(`${VERSION_LINE}\n`)
  })
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)]
}

/** Names of all options without a value, as they are written. */
function switchNames(program: Command): Set<string> {
  const options = everyCommand(program).flatMap((command) => command.options)
  return new Set(
    options.filter((option) => option.isBoolean() || option.negate).map(({ long }) => long?.slice(2) ?? ''),
  )
}
