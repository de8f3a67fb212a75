import { readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { accessProblems } from './access-rules.js'
import { backupProblems, backupUrl, cloudWarnings } from './backup-rules.js'
import { checkedDocument } from './checked-document.js'
import { type Claims, contradictions } from './contradictions.js'
import type { ConfigDocument } from './document.js'
import { type Environment, type Expansion, expandEnvironment } from './expand.js'
import { ConfigError } from './problems.js'
import { proxyProblems } from './proxy-rules.js'
import type { Report } from './report.js'
import { type Config, configSchema } from './schema.js'
import { storeProblems } from './store-rules.js'
import { unbuiltKeys } from './unbuilt.js'
import { textAt, valueAt } from './values.js'
import { CommandLineError, splitWords } from './words.js'

export interface LoadedConfig {
  config: Config
  /** The file it was read from. */
  file: string
  /** One line each, for the log. */
  warnings: string[]
}

export interface LoadOptions {
  /** Read this file instead of searching. */
  path: string | undefined
  /** Variables to expand in the file, or undefined to leave dollar signs alone. */
  env: Environment | undefined
}

/** Finds, reads and checks the configuration file. Throws ConfigError with all problems. */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const { file, source } = options.path === undefined ? searchConfig() : readConfig(options.path)
  return parseConfig(source, file, options.env)
}

function searchConfig(): { file: string; source: string } {
  const files = [path.resolve('litefs.yml'), path.join(os.homedir(), 'litefs.yml'), '/etc/litefs.yml']
  for (const file of files) {
    try {
      return readConfig(file)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
  throw new ConfigError(`Cannot find a configuration file: none of ${files.join(', ')} exists`, [])
}

/** Throws ConfigError. */
export function readConfig(file: string): { file: string; source: string } {
  try {
    return { file, source: readFileSync(file, 'utf8') }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new ConfigError(`Cannot read ${file}: ${reason}`, [], { cause })
  }
}

function isMissing(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
}

/** Checks the text of a configuration file. `file` is only for messages. Throws ConfigError with all problems. */
export function parseConfig(source: string, file: string, env: Environment | undefined): LoadedConfig {
  const expansion = env === undefined ? { text: source, originOf: (at: number) => at } : expandEnvironment(source, env)
  const { document, report } = checkedDocument({ source, file, expansion }, configSchema)
  const { values } = document
  const rules = [
    contradictions(claimsOf(document)),
    storeProblems(values),
    accessProblems(values),
    proxyProblems(values),
    backupProblems(values),
  ]
  for (const { key, message } of rules.flat()) report.key(key, message)
  reportUnsetSecrets(document, source, expansion, report)
  const ignored = checkCommandLines(document, report)
  report.throwIfAny()

  const config = configSchema.parse(document.values)
  config.backup.url = backupUrl(config.backup)
  config.http['snapshot-timeout'] ||= config.data.retention
  const given = [...document.places].filter(([, { found }]) => found !== 'nothing').map(([key]) => key)
  const unbuilt = unbuiltKeys(given)
  const warnings = unbuilt.length === 0 ? [] : [`${file}: keys without effect in this version: ${unbuilt.join(', ')}`]
  return { config, file, warnings: [...warnings, ...ignored, ...cloudWarnings(config.backup, env ?? {})] }
}

/** Rules that look at several keys must not wait for each to be right: what has the wrong type counts as its default. */
function claimsOf({ values }: ConfigDocument): Claims {
  const fuseDir = valueAt(values, 'fuse', 'dir')
  const dataDir = valueAt(values, 'data', 'dir')
  const databases = valueAt(values, 'lease', 'databases')
  const advertiseUrl = valueAt(values, 'lease', 'advertise-url')
  return {
    fuseDir: typeof fuseDir === 'string' ? fuseDir : '/litefs',
    dataDir: typeof dataDir === 'string' ? dataDir : '/var/lib/litefs',
    candidate: valueAt(values, 'lease', 'candidate') !== false,
    databases: Array.isArray(databases) ? databases : [],
    isStatic: valueAt(values, 'lease', 'type') === 'static',
    advertiseUrl: typeof advertiseUrl === 'string' ? advertiseUrl : '',
  }
}

/** Where an empty value would mean no protection, a variable that is not set must not be what makes it empty. */
const SECRETS = ['http.token', 'http.token-file', 'lease.etcd.username', 'lease.etcd.password']

function reportUnsetSecrets(document: ConfigDocument, source: string, expansion: Expansion, report: Report): void {
  for (const key of SECRETS) {
    const place = document.places.get(key)
    if (place === undefined || textAt(document.values, ...key.split('.')) !== '') continue
    const text = source.slice(expansion.originOf(place.keyOffset))
    if (!/^["']?[\w-]+["']?\s*:\s*["']?\$/.test(text)) continue
    report.key(key, 'found a variable that is not set, allowed: set it, or leave the key out')
  }
}

/** Returns a warning for each command of which a part would be ignored, and reports those that are no command at all. */
function checkCommandLines({ values, places }: ConfigDocument, report: Report): string[] {
  const warnings: string[] = []
  const exec = valueAt(values, 'exec')
  const commands: unknown[] = Array.isArray(exec) ? exec : []
  for (const [index, command] of commands.entries()) {
    const line = valueAt(command, 'cmd')
    if (typeof line !== 'string' || line === '') continue
    const key = places.has(`exec.${index}.cmd`) ? `exec.${index}.cmd` : 'exec'
    try {
      const { words, ignored } = splitWords(line)
      if (words.length === 0) report.key(key, `found ${JSON.stringify(line)}, allowed: a command line`)
      if (ignored !== '') warnings.push(`${report.placeOf(key)}: ${key}: no shell runs this, so it ignores: ${ignored}`)
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error
      report.key(key, error.message)
    }
  }
  return warnings
}
