import { existsSync } from 'node:fs'
import { isMap, parseDocument } from 'yaml'
import { checkedDocument } from './checked-document.js'
import type { ConfigDocument } from './document.js'
import { type Environment, expandEnvironment } from './expand.js'
import { type LitestreamConfig, litestreamSchema } from './litestream-schema.js'
import { type LoadOptions, readConfig } from './load.js'
import { ConfigError } from './problems.js'
import type { Report } from './report.js'
import { valueAt } from './values.js'

export interface LoadedLitestreamConfig {
  readonly config: LitestreamConfig
  /** The file it was read from. */
  readonly file: string
  /** One line each, for the log. */
  readonly warnings: readonly string[]
}

/** Where Litestream looks. */
const DEFAULT_FILE = '/etc/litestream.yml'

/** By the last part of their paths. */
const WITHOUT_EFFECT =
  /(?:^|\.)(?:sign-payload|require-content-md5|concurrent-writes|max-sync-ltx-files|auto-recover|validation-interval|snapshot-interval|retention-check-interval|max-checkpoint-page-count|mcp-addr|socket|validation|verify-compaction|heartbeat-url|heartbeat-interval|shutdown-sync-timeout|shutdown-sync-interval|logging\.stderr|logging\.source)$|^dbs\.\d+\.replicas?(?:\.\d+)?\.(?:name|retention)$/
/** Where ignoring a key would leave out what somebody relies on. */
const REFUSED = /(?:^|\.)(?:sse-customer-algorithm|sse-customer-key|sse-customer-key-path|sse-kms-key-id)$/
const REFUSED_OF_DATABASE = /^dbs\.\d+\.(?:dir|pattern|recursive|watch)$/

/** The configuration file of Litestream that would be read; undefined where there is none. */
export function litestreamConfigFile(given: string | undefined, env: Environment): string | undefined {
  const file = given ?? (env['LITESTREAM_CONFIG'] || DEFAULT_FILE)
  return given !== undefined || existsSync(file) ? file : undefined
}

/** Whether a file is a configuration of Litestream: it lists databases. */
export function isLitestreamConfig(file: string): boolean {
  const { contents } = parseDocument(readConfig(file).source)
  return isMap(contents) && contents.has('dbs')
}

/** Finds, reads and checks Litestream's configuration file. Throws ConfigError with all problems. */
export function loadLitestreamConfig(options: LoadOptions): LoadedLitestreamConfig {
  const file = litestreamConfigFile(options.path, process.env)
  if (file === undefined) {
    throw new ConfigError(
      `Cannot find a configuration file: ${DEFAULT_FILE} is not there (-config names another one)`,
      [],
    )
  }
  return parseLitestreamConfig(readConfig(file).source, file, options.env)
}

/** Checks the text of a configuration file. `file` is only for messages. Throws ConfigError with all problems. */
export function parseLitestreamConfig(
  source: string,
  file: string,
  env: Environment | undefined,
): LoadedLitestreamConfig {
  const variables = env === undefined ? undefined : { ...env, PID: String(process.pid) }
  const unexpanded = { text: source, originOf: (at: number) => at }
  const expansion = variables === undefined ? unexpanded : expandEnvironment(source, variables)
  const { document, report } = checkedDocument({ source, file, expansion }, litestreamSchema)
  checkDatabases(document, report)
  const given = [...document.places]
    .filter(([, { found }]) => found !== 'nothing' && found !== '""')
    .map(([key]) => key)
  for (const key of given.filter((key) => REFUSED.test(key) || REFUSED_OF_DATABASE.test(key))) {
    report.key(key, 'found a key that litefs does not support: leave it out, or stay with Litestream')
  }
  report.throwIfAny()
  const ignored = given.filter((key) => WITHOUT_EFFECT.test(key))
  const warnings = ignored.length === 0 ? [] : [`${file}: keys without effect here: ${ignored.join(', ')}`]
  return { config: litestreamSchema.parse(document.values), file, warnings }
}

function checkDatabases({ values }: ConfigDocument, report: Report): void {
  const dbs = valueAt(values, 'dbs')
  if (!Array.isArray(dbs)) return
  for (const [index, database] of dbs.entries()) {
    const key = `dbs.${index}`
    const path = valueAt(database, 'path')
    const isDirectory = valueAt(database, 'dir') !== undefined
    if ((path === undefined || path === '') && !isDirectory)
      report.key(key, 'found no path, allowed: the path of a database')
    const replicas: unknown = valueAt(database, 'replicas')
    const listed: unknown[] = Array.isArray(replicas) ? replicas : []
    const single: unknown = valueAt(database, 'replica')
    if (listed.length + (single === undefined ? 0 : 1) !== 1) {
      report.key(
        key,
        `found ${listed.length + (single === undefined ? 0 : 1)} replicas, allowed: one, under the key replica`,
      )
    }
    for (const [at, replica] of [
      ...(single === undefined ? [] : [['replica', single] as const]),
      ...listed.map((item, i) => [`replicas.${i}`, item] as const),
    ]) {
      checkReplica(`${key}.${at}`, replica, report)
    }
  }
}

function checkReplica(key: string, replica: unknown, report: Report): void {
  const given = (name: string) => {
    const value = valueAt(replica, name)
    return typeof value === 'string' && value !== ''
  }
  if (given('url') && (given('path') || given('bucket'))) {
    report.key(`${key}.url`, 'found a url beside path or bucket, allowed: one of both')
  }
  if (!given('url') && !given('path') && !given('bucket')) {
    report.key(key, 'found no url, allowed: a url, or type and path')
  }
}
