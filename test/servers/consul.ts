// A real Consul: 1.8.7, from Debian bullseye's package. Debian 12 has none.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { getIn } from '../system/namespaces.js'
import { unpackedPackage } from './debian-package.js'
import { freePorts } from './ports.js'
import { HERE, type ServerPlace, type ServerProcess, startServer, type Teardown } from './process.js'

export interface RunningConsul {
  readonly port: number
  readonly url: string
  /** Where it speaks TLS; 0 when it does not. */
  readonly tlsPort: number
  /** Ends it; `start` starts it again, with nothing in it. */
  stop(): Promise<void>
  start(): Promise<void>
  /** Sends it a signal that it lives through. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void
}

/**
 * @param extra of the agent's configuration, e.g. `{ acl: {...} }`; the agent has nothing on disk
 * @param tls files for its HTTPS port
 * @param place without `tls` and tokens
 */
export async function startConsul(
  t: Teardown,
  extra: object = {},
  tls?: { ca: string; cert: string; key: string },
  { address, via }: ServerPlace = HERE,
): Promise<RunningConsul> {
  const program = path.join(await unpackedPackage('consul', 'bullseye'), 'usr/bin/consul')
  const directory = await mkdtemp(path.join(os.tmpdir(), 'litefs-consul-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const [http = 0, https = 0, server = 0, serfLan = 0, serfWan = 0] = await freePorts(5)
  const tlsPort = tls === undefined ? 0 : https
  const config = {
    bind_addr: '127.0.0.1',
    client_addr: address,
    // As long as a lease lasts at least: 10 s by default.
    session_ttl_min: '1s',
    disable_update_check: true,
    ports: { dns: -1, grpc: -1, https: tlsPort || -1, http, server, serf_lan: serfLan, serf_wan: serfWan },
    ...(tls !== undefined && { ca_file: tls.ca, cert_file: tls.cert, key_file: tls.key }),
    ...extra,
  }
  const url = `http://${address}:${http}`
  const file = path.join(directory, 'agent.json')
  await writeFile(file, JSON.stringify(config))
  let running: ServerProcess | undefined
  const start = async () => {
    const isReady = async () => {
      const get = async (where: string) => {
        if (via.length > 0) return await getIn(via, `${url}${where}`)
        return await (await fetch(`${url}${where}`, { headers: tokenIn(extra) })).text()
      }
      // It leads before it has registered itself, and no session can be made until then.
      const leads = (await get('/v1/status/leader')).trim() !== '""'
      return leads && (JSON.parse(await get('/v1/catalog/nodes')) as unknown[]).length > 0
    }
    const words = ['agent', '-dev', '-log-level=warn', `-config-file=${file}`]
    running = await startServer(t, [...via, program, ...words], isReady)
  }
  await start()
  const signal = (name: NodeJS.Signals) => {
    if (running === undefined || !process.kill(running.pid, name))
      throw new Error(`Cannot send ${name}: Consul does not run`)
  }
  return { port: http, url, tlsPort, start, stop: async () => await running?.stop(), signal }
}

function tokenIn(extra: { acl?: { tokens?: { master?: string } } }): Record<string, string> {
  const token = extra.acl?.tokens?.master
  return token === undefined ? {} : { 'x-consul-token': token }
}
