// The lease stores that the same tests run over, real ones, each behind a proxy that can break.
import { ConsulLeaser } from '../../src/lease/consul-leaser.js'
import { EtcdLeaser } from '../../src/lease/etcd-leaser.js'
import type { Leaser, NodeInfo } from '../../src/lease/leaser.js'
import { startConsul } from '../servers/consul.js'
import { startEtcd } from '../servers/etcd.js'
import { type FaultyProxy, startFaultyProxy } from '../servers/faulty-proxy.js'
import type { Teardown } from '../servers/process.js'

export interface LeaseStore {
  readonly port: number
  readonly proxy: FaultyProxy
  /** A leaser of one node more, for the same cluster. */
  leaser(options?: { ttlMs?: number; viaProxy?: boolean; key?: string }): Leaser
  /** As another program would. An undefined value removes the key. */
  write(key: string, value: string | undefined): Promise<void>
  read(key: string): Promise<string | undefined>
  stop(): Promise<void>
  start(): Promise<void>
  /** Starts it again with nothing in it. */
  startEmpty(): Promise<void>
}

export interface Backend {
  readonly name: string
  /** What an expired lease may take until another node gets it, beside its TTL, milliseconds. */
  readonly slackMs: number
  start(t: Teardown): Promise<LeaseStore>
}

export const KEY = 'cluster/primary'
/** Consul's is as short as the agent allows. */
export const TTL_MS = 1000

export function node(name: string): NodeInfo {
  const nodeId = Buffer.from(name.padEnd(8)).toString('hex').toUpperCase().slice(0, 16)
  return { hostname: name, advertiseUrl: `http://${name}:20202`, nodeId }
}

const consul: Backend = {
  name: 'consul',
  // Consul gives a session twice its TTL, and then comes the lock-delay.
  slackMs: TTL_MS + 1000,
  start: async (t) => {
    const server = await startConsul(t)
    const proxy = await startFaultyProxy(t, server.port)
    const kv = (key: string) => `http://127.0.0.1:${server.port}/v1/kv/${key}`
    return {
      port: server.port,
      proxy,
      leaser: ({ ttlMs = TTL_MS, viaProxy = false, key = KEY } = {}) => {
        const url = `http://127.0.0.1:${viaProxy ? proxy.port : server.port}`
        return closing(t, new ConsulLeaser({ url, key, ttlMs, lockDelayMs: 500, tls: undefined }))
      },
      write: async (key, value) => {
        const init = value === undefined ? { method: 'DELETE' } : { method: 'PUT', body: value }
        await (await fetch(kv(key), init)).text()
      },
      read: async (key) => {
        const answer = await fetch(`${kv(key)}?raw`)
        return answer.ok ? await answer.text() : undefined
      },
      stop: server.stop,
      start: server.start,
      startEmpty: server.start,
    }
  },
}

const etcd: Backend = {
  name: 'etcd',
  // etcd looks for leases that have ended twice a second, and rounds up to seconds.
  slackMs: 1500,
  start: async (t) => {
    const server = await startEtcd(t)
    const proxy = await startFaultyProxy(t, server.port)
    const base64 = (text: string) => Buffer.from(text).toString('base64')
    const call = async (path: string, body: object) => {
      const answer = await fetch(`${server.url}/v3/kv/${path}`, { method: 'POST', body: JSON.stringify(body) })
      return (await answer.json()) as { kvs?: { value?: string }[] }
    }
    return {
      port: server.port,
      proxy,
      leaser: ({ ttlMs = TTL_MS, viaProxy = false, key = KEY } = {}) => {
        const endpoints = [`http://127.0.0.1:${viaProxy ? proxy.port : server.port}`]
        return closing(t, new EtcdLeaser({ endpoints, key, ttlMs, username: '', password: '', tls: undefined }))
      },
      write: async (key, value) => {
        if (value === undefined) await call('deleterange', { key: base64(key) })
        else await call('put', { key: base64(key), value: base64(value) })
      },
      read: async (key) => {
        const [entry] = (await call('range', { key: base64(key) })).kvs ?? []
        return entry && Buffer.from(entry.value ?? '', 'base64').toString()
      },
      stop: server.stop,
      start: server.start,
      startEmpty: async () => {
        await server.loseData()
        await server.start()
      },
    }
  },
}

export const backends: readonly Backend[] = [consul, etcd]

function closing<T extends Leaser>(t: Teardown, leaser: T): T {
  t.teardown(() => leaser.close())
  return leaser
}
