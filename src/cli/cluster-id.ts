import path from 'node:path'
import { Command } from 'commander'
import type { Config } from '../config/schema.js'
import type { Leaser } from '../lease/leaser.js'
import { interruptible } from './interruption.js'

interface Options {
  readonly config?: string
  readonly expandEnv: boolean
  readonly dryRun?: true
  readonly store?: true
  readonly data?: true
}

/** The ids of the lease store and of the data directory; undefined where there is none. */
interface Ids {
  readonly store: string | undefined
  readonly data: string | undefined
}

interface Places {
  readonly config: Config
  readonly dataDir: string
  /** Undefined where the lease is static. */
  readonly leaser: Leaser | undefined
  readonly signal: AbortSignal
}

/** `litefs cluster-id show|set|clear`: which cluster the lease store and this node's data belong to, and a way out where they disagree. */
export function clusterIdCommand(): Command {
  const show = withOptions(
    new Command('show').description('show the id of the lease store and that of the data directory'),
  )
  show.action((options: Options) => withPlaces(options, async (places) => tell(await idsOf(places), places)))
  const set = withChangeOptions(new Command('set').description('write an id, where it is another one'))
  set.argument('<id>', 'LFSC and 16 hex digits')
  set.action((id: string, options: Options) => withPlaces(options, (places) => change(id, options, places)))
  const clear = withChangeOptions(new Command('clear').description('remove the id: the next primary writes its own'))
  clear.action((options: Options) => withPlaces(options, (places) => change(undefined, options, places)))
  return new Command('cluster-id')
    .description('show or repair the cluster id, which keeps nodes of different clusters apart')
    .addCommand(show)
    .addCommand(set)
    .addCommand(clear)
}

function withOptions(command: Command): Command {
  return command
    .option('--config <path>', 'configuration file (default: ./litefs.yml, ~/litefs.yml, /etc/litefs.yml)')
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
}

function withChangeOptions(command: Command): Command {
  return withOptions(command)
    .option('--store', 'only in the lease store')
    .option('--data', 'only in the data directory, whose node must not run')
    .option('--dry-run', 'only say what would be done')
}

async function withPlaces(options: Options, action: (places: Places) => Promise<void>): Promise<void> {
  const { loadConfig } = await import('../config/load.js')
  const { openLeaser } = await import('../lease/open-leaser.js')
  const { config } = loadConfig({ path: options.config, env: options.expandEnv ? process.env : undefined })
  const leaser = config.lease.type === 'static' ? undefined : await openLeaser(config.lease, undefined)
  try {
    await interruptible((signal) => action({ config, dataDir: path.resolve(config.data.dir), leaser, signal }))
  } finally {
    await leaser?.close()
  }
}

async function idsOf({ dataDir, leaser, signal }: Places): Promise<Ids> {
  const { Identity } = await import('../store/identity.js')
  return { store: await leaser?.clusterId(signal), data: Identity.load(dataDir).clusterId }
}

function tell({ store, data }: Ids, { dataDir, leaser, config }: Places): void {
  print(
    leaser === undefined
      ? 'lease store     none: lease.type is "static"'
      : `lease store     ${store ?? 'no id'} (${leaser.name})`,
  )
  print(`data directory  ${data ?? 'no id'} (${dataDir})`)
  if (store !== undefined && data !== undefined && store !== data) {
    print(
      `\nThey differ: this node will not join. If its data is the cluster's, run "litefs cluster-id set ${data} -store";`,
    )
    print(
      `if it is to take the data of cluster ${store} in place of its own, stop it and run "litefs cluster-id clear -data".`,
    )
  }
  if (store !== undefined && data === undefined && config.lease.candidate) {
    print(
      '\nThis node follows, and becomes primary only after it has had the data of that cluster. If no node has any of it',
    )
    print('left, run "litefs cluster-id clear -store": the next primary then begins a new cluster.')
  }
}

async function change(to: string | undefined, options: Options, places: Places): Promise<void> {
  const { isClusterId, writeClusterId } = await import('../store/identity.js')
  if (to !== undefined && !isClusterId(to))
    throw new Error(`Cannot set cluster id ${to}: allowed are LFSC and 16 hex digits`)
  const { dataDir, leaser, signal } = places
  if (options.store && leaser === undefined)
    throw new Error('Cannot change the lease store: with lease.type "static" there is none')
  const everywhere = !options.store && !options.data
  const ids = await idsOf(places)
  const inStore = leaser !== undefined && (everywhere || options.store === true) && ids.store !== to
  const inData = (everywhere || options.data === true) && ids.data !== to
  const done = options.dryRun ? 'would change' : 'changed'
  if (inStore) await refuseLed(leaser, signal)
  // Locked before anything is changed: the node could be running.
  const { DataDirectory } = await import('../store/data-directory.js')
  const directory = inData && !options.dryRun ? DataDirectory.open(dataDir) : undefined
  try {
    if (inStore && !options.dryRun && !(await leaser.swapClusterId(ids.store, to, signal)))
      throw new Error(
        'Cannot change the cluster id in the lease store: somebody else has just done so; look again with "litefs cluster-id show"',
      )
    if (inStore) print(`lease store: ${done} from ${ids.store ?? 'no id'} to ${to ?? 'no id'}`)
    if (directory !== undefined) writeClusterId(dataDir, to)
    if (inData) print(`data directory: ${done} from ${ids.data ?? 'no id'} to ${to ?? 'no id'}`)
    if (!inStore && !inData) print('nothing to change')
  } finally {
    directory?.close()
  }
}

/** A primary would go on under the id it has read. */
async function refuseLed(leaser: Leaser, signal: AbortSignal): Promise<void> {
  const primary = await leaser.primary(signal)
  if (primary === undefined) return
  const who = `${primary.hostname} at ${primary.advertiseUrl}`
  throw new Error(
    `Cannot change the cluster id in the lease store: ${who} is primary (stop the cluster's candidates first)`,
  )
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
