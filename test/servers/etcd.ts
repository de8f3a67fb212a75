// A real etcd: 3.4, Debian's package etcd-server.
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Agent, request } from 'undici'
import { getIn } from '../system/namespaces.js'
import { freePorts } from './ports.js'
import { HERE, type ServerPlace, type ServerProcess, startServer, type Teardown } from './process.js'

export interface RunningEtcd {
  readonly port: number
  readonly url: string
  /** Ends it; `start` starts it again, with what it had on disk. */
  stop(): Promise<void>
  start(): Promise<void>
  /** What it had on disk goes. Only while it is stopped. */
  loseData(): Promise<void>
  /** Sends it a signal that it lives through. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void
}

/** @param tls files; clients then need a certificate of the same authority */
export async function startEtcd(
  t: Teardown,
  tls?: { ca: string; cert: string; key: string; pem: { ca: string; cert: string; key: string } },
  { address, via }: ServerPlace = HERE,
): Promise<RunningEtcd> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'litefs-etcd-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const [port = 0, peerPort = 0] = await freePorts(2)
  const url = `${tls === undefined ? 'http' : 'https'}://${address}:${port}`
  const peers = `http://127.0.0.1:${peerPort}`
  const dataDir = path.join(directory, 'data')
  const options = {
    'data-dir': dataDir,
    'listen-client-urls': url,
    'advertise-client-urls': url,
    'listen-peer-urls': peers,
    'initial-advertise-peer-urls': peers,
    'initial-cluster': `default=${peers}`,
    // The shortest lease is half as much again as the election timeout, rounded up to a second.
    'heartbeat-interval': '50',
    'election-timeout': '500',
    'log-level': 'error',
    ...(tls !== undefined && { 'trusted-ca-file': tls.ca, 'cert-file': tls.cert, 'key-file': tls.key }),
  }
  const words = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  if (tls !== undefined) words.push('--client-cert-auth')
  const agent = new Agent({ connect: tls === undefined ? {} : { ...tls.pem } })
  t.teardown(() => agent.destroy())
  let running: ServerProcess | undefined
  const start = async () => {
    const isReady = async () => {
      if (via.length > 0) return (await getIn(via, `${url}/health`)).includes('"true"')
      const { body } = await request(`${url}/health`, { dispatcher: agent })
      return ((await body.json()) as { health: string }).health === 'true'
    }
    running = await startServer(t, [...via, 'etcd', ...words], isReady)
  }
  await start()
  return {
    port,
    url,
    start,
    stop: async () => await running?.stop(),
    loseData: () => rm(dataDir, { recursive: true }),
    signal: (name) => {
      if (running === undefined || !process.kill(running.pid, name))
        throw new Error(`Cannot send ${name}: etcd does not run`)
    },
  }
}
