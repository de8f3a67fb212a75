import path from 'node:path'
import { Command } from 'commander'
import type { LitestreamConfig } from '../config/litestream-schema.js'
import { ConfigError } from '../config/problems.js'
import { CommandLineError, splitWords } from '../config/words.js'
import { FORWARDED_SIGNALS, Supervisor } from '../exec/supervisor.js'
import { describeError, type Log } from '../log.js'
import { createLog } from '../log-output.js'
import type { ReplicatedDatabase, Replication } from '../sidecar/replicate.js'
import { VERSION } from './version.js'

interface Options {
  readonly exec?: string
  readonly once?: true
  readonly forceSnapshot?: true
  readonly enforceRetention?: true
  readonly restoreIfDbNotExists?: true
  readonly logLevel?: string
  readonly config?: string
  readonly expandEnv: boolean
}

const EXIT_USAGE = 2

/** `litefs replicate [options] [DB URL]`: continuous backup of databases that are used without a mount. */
export function replicateCommand(): Command {
  return new Command('replicate')
    .description('back up databases continuously that applications use without a mount')
    .argument('[db]', 'database file; without it, those of the configuration file')
    .argument('[url]', 'where its backup goes, such as s3://BUCKET/PATH or a directory')
    .option('--exec <command>', 'run a command, and end with it')
    .option('--once', 'bring the backups up to date and end')
    .option('--force-snapshot', 'with -once: upload a full copy too')
    .option('--enforce-retention', 'with -once: merge, and remove what is past its retention')
    .option('--restore-if-db-not-exists', 'restore databases first that are not there')
    .option('--log-level <level>', 'trace and debug log more')
    .option('--config <path>', "Litestream's configuration file (default: $LITESTREAM_CONFIG, /etc/litestream.yml)")
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
    .addHelpText('after', '\nOptions may be written with one dash, and come before DB.')
    .action(async (db: string | undefined, url: string | undefined, options: Options) => {
      try {
        process.exitCode = await replicate(db, url, options)
      } catch (error) {
        if (!(error instanceof ConfigError || error instanceof CommandLineError)) throw error
        process.stderr.write(`ERROR: ${error.message}\n`)
        process.exitCode = EXIT_USAGE
      }
    })
}

async function replicate(db: string | undefined, url: string | undefined, options: Options): Promise<number> {
  if (options.once === true && options.exec !== undefined) throw new CommandLineError('Cannot use -once with -exec')
  for (const name of ['forceSnapshot', 'enforceRetention'] as const) {
    if (options[name] === true && options.once !== true) {
      throw new CommandLineError(
        `Cannot use -${name === 'forceSnapshot' ? 'force-snapshot' : 'enforce-retention'} without -once`,
      )
    }
  }
  const { config, sources, warnings } = await configOf(db, url, options)
  const level = options.logLevel ?? (process.env['LOG_LEVEL'] || config.logging.level)
  const format = config.logging.type === 'json' ? 'json' : 'text'
  const log = createLog({ format, timestamp: true, debug: /^(?:debug|trace)$/i.test(level) })
  log.info(`litefs v${VERSION} replicate${sources}`)
  for (const warning of warnings) log.warn(warning)
  const { replicatedDatabases } = await import('../sidecar/replicate-config.js')
  const { replicateOnce, restoreMissing } = await import('../sidecar/replicate.js')
  const databases = replicatedDatabases(config)
  if (databases.length === 0)
    throw new ConfigError('Cannot back up: the configuration file lists no databases (dbs)', [])
  for (const database of databases) {
    if (database.restoreIfMissing || options.restoreIfDbNotExists === true) await restoreMissing(database, log)
  }
  if (options.once !== true) return await run(databases, options.exec ?? config.exec, config.addr, log)
  const forceSnapshot = options.forceSnapshot === true
  const enforceRetention = options.enforceRetention === true
  for (const database of databases) await replicateOnce(database, { forceSnapshot, enforceRetention }, log)
  return 0
}

/** Of the command line, or of the file. */
async function configOf(
  db: string | undefined,
  url: string | undefined,
  options: Options,
): Promise<{ config: LitestreamConfig; sources: string; warnings: readonly string[] }> {
  if (db === undefined) {
    const { loadLitestreamConfig } = await import('../config/litestream-load.js')
    const env = options.expandEnv ? process.env : undefined
    const { config, file, warnings } = loadLitestreamConfig({ path: options.config, env })
    return { config, sources: `, config file read from ${file}`, warnings }
  }
  if (url === undefined)
    throw new CommandLineError(`Cannot back up ${db}: it has no URL; as in: litefs replicate my.db s3://BUCKET/my.db`)
  if (options.config !== undefined) throw new CommandLineError('Cannot use both -config and a database')
  const { litestreamSchema } = await import('../config/litestream-schema.js')
  return { config: litestreamSchema.parse({ dbs: [{ path: db, replica: { url } }] }), sources: '', warnings: [] }
}

/** Until a signal, or the end of the command. */
async function run(databases: readonly ReplicatedDatabase[], exec: string, addr: string, log: Log): Promise<number> {
  const { Replication, withoutPassword } = await import('../sidecar/replicate.js')
  const argv = exec === '' ? undefined : splitWords(exec).words
  const supervisor = new Supervisor(log)
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => supervisor.deliver(signal))
  // Signal listeners alone do not keep a process running.
  const keepAlive = setInterval(() => {}, 2 ** 30)
  const replication = new Replication(log)
  const closeMetrics = await serveMetrics(addr, replication, log)
  let exitCode = 0
  try {
    await replication.start(databases)
    for (const { path: file, url } of databases)
      log.info(`replicating ${path.resolve(file)} to ${withoutPassword(url)}`)
    const commands = argv === undefined ? [] : [{ argv, ifCandidate: false }]
    const subprocess = await supervisor.start(commands, true)
    if (subprocess === undefined) await stopped(supervisor.stopping)
    else exitCode = (await subprocess.ended).exitCode
  } catch (error) {
    log.error(describeError(error))
    exitCode = 1
  }
  const ending = replication.stop().then(() => 'ended')
  const how = await Promise.race([ending, stopped(supervisor.insisted)])
  if (how === 'ended') log.info('replication ended')
  else log.warn('ended at once: what was committed last may not be in the backup')
  await closeMetrics()
  clearInterval(keepAlive)
  return exitCode
}

async function serveMetrics(addr: string, replication: Replication, log: Log): Promise<() => Promise<void>> {
  if (addr === '') return async () => {}
  const { openMetricsServer } = await import('../http/metrics-server.js')
  const { url, close } = await openMetricsServer(addr, () => replication.statuses)
  log.info(`serving metrics on ${url}/metrics`)
  return close
}

async function stopped(signal: AbortSignal): Promise<'stopped'> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  return 'stopped'
}
