import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Config } from '../config/schema.js'
import type { NodeAddress } from './node-api.js'

const DEFAULT_URL = 'http://localhost:20202'

/** What every command that calls a node takes. */
export interface NodeOptions {
  readonly url?: string
  readonly config?: string
  readonly expandEnv: boolean
  readonly tokenFile?: string
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** Adds the options that say where the API of a node is, and what it takes to be let in. */
export function withNodeOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', `the node API (default: "${DEFAULT_URL}", or that of -config)`).argParser(origin),
    )
    .option('--config <path>', 'a litefs.yml with the token and certificates of the cluster')
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
    .option('--token-file <path>', 'file with the token (default: the variable LITEFS_TOKEN)')
    .option('--ca <path>', "file with the authority that signed the node's certificate")
    .option('--cert <path>', 'file with a certificate to show, where the node asks for one')
    .option('--key <path>', 'file with its key')
}

/** Reads what the options name. Rejects when that is not possible. */
export async function nodeOf(options: NodeOptions): Promise<NodeAddress> {
  const { readTls, readToken } = await import('../config/access.js')
  const { PeerAccess } = await import('../http/peer-access.js')
  const config = await configOf(options)
  const { ca = '', cert = '', key = '', tokenFile = '' } = options
  const given = readTls({ ca, cert, key }, '-')
  const tls = given ?? (config && readTls(config.http.tls, 'http.tls.'))
  const secrets = tokenFile === '' ? config?.http : undefined
  const token = readToken(secrets ?? { token: '', 'token-file': tokenFile }, process.env)
  return {
    url: options.url ?? (config === undefined ? DEFAULT_URL : await urlOf(config)),
    access: new PeerAccess({ token, tls }),
  }
}

async function configOf({ config: path, expandEnv }: NodeOptions): Promise<Config | undefined> {
  if (path === undefined) return undefined
  const { loadConfig } = await import('../config/load.js')
  return loadConfig({ path, env: expandEnv ? process.env : undefined }).config
}

/** Of the node that has this configuration, as its own machine reaches it. */
async function urlOf({ http }: Config): Promise<string> {
  const { parseAddress } = await import('../http/address.js')
  const { host, port } = parseAddress(http.addr)
  const name = /^(?:|0\.0\.0\.0|::)$/.test(host) ? 'localhost' : host
  return `${http.tls.cert === '' ? 'http' : 'https'}://${name.includes(':') ? `[${name}]` : name}:${port}`
}

/** Without a slash at the end. */
function origin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new InvalidArgumentError(`Allowed is a URL such as ${DEFAULT_URL}.`)
  }
  return url.origin
}
