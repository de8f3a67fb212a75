// Nodes that share a lease in a real etcd or Consul, each a `litefs mount` of its own, and a writer that goes where the primary is.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { startConsul } from '../servers/consul.js'
import { startEtcd } from '../servers/etcd.js'
import { freePort } from '../servers/ports.js'
import { type Mount, type MountOptions, startMount } from './harness.js'
import { contentHash, sqlite } from './judges.js'
import { eventually, inSync } from './replicas.js'

const writerScript = fileURLToPath(new URL('routed-writer.js', import.meta.url))
/** Of a lease that is waited for, until it runs out. */
export const TTL_MS = 3000
/** Of a lease in Consul. */
export const LOCK_DELAY_MS = 500
/** After which a node that was asked to step down stands again. */
export const DEMOTE_DELAY_MS = 3000
/** What a change of the primary may take beside that, milliseconds. */
export const SLACK_MS = 2000
/** An answer of a node that is asked in a test, milliseconds. */
const ANSWER_MS = 20_000

export interface Info {
  readonly isPrimary: boolean
  readonly primary: { readonly hostname: string }
}

/** What a node of a cluster is started with beside its lease. */
export type Equip = (place: Place) => Pick<MountOptions, 'args' | 'configExtra' | 'env'>

interface PlaceOptions {
  readonly hostname: string
  readonly url: string
  readonly base: string
  readonly lease: object
  readonly equip: Equip
}

/** One place for a node, which may run or not. */
export class Place {
  readonly hostname: string
  readonly url: string
  readonly dir: string
  readonly dataDir: string
  readonly #t: Test
  readonly #lease: object
  readonly #equip: Equip
  #mount: Mount | undefined

  constructor(t: Test, { hostname, url, base, lease, equip }: PlaceOptions) {
    this.#t = t
    this.#lease = lease
    this.#equip = equip
    this.hostname = hostname
    this.url = url
    this.dir = path.join(base, hostname, 'mount')
    this.dataDir = path.join(base, hostname, 'data')
  }

  get mount(): Mount {
    if (this.#mount === undefined) throw new Error(`Cannot use ${this.hostname}: it does not run`)
    return this.#mount
  }

  async start(): Promise<void> {
    await mkdir(this.dir, { recursive: true })
    const lease = { ...this.#lease, hostname: this.hostname, 'advertise-url': this.url }
    const { args = [], configExtra: more, env } = this.#equip(this)
    const configExtra = { lease, http: { addr: new URL(this.url).host }, ...more }
    this.#mount = await startMount(this.#t, {
      dataDir: this.dataDir,
      mountDir: this.dir,
      args,
      configExtra,
      ...(env && { env }),
    })
  }

  async info(): Promise<Info> {
    const answer = await fetch(`${this.url}/info`, { signal: AbortSignal.timeout(ANSWER_MS) })
    return (await answer.json()) as Info
  }

  /** The status and the text of what the node answers to a POST. */
  async post(where: string): Promise<{ status: number; text: string }> {
    const answer = await fetch(`${this.url}${where}`, { method: 'POST', signal: AbortSignal.timeout(ANSWER_MS) })
    return { status: answer.status, text: await answer.text() }
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.mount.pid, name)
  }
}

export interface Cluster {
  readonly places: readonly Place[]
  readonly store: LeaseStore
  /** The one that says it is the primary, among those that are asked. */
  primary(among?: readonly Place[]): Promise<Place>
}

/** A lease store that can be stopped. */
export interface LeaseStore {
  /** Of `litefs.yml`. */
  readonly lease: object
  stop(): Promise<void>
  start(): Promise<void>
}

const KEY = 'test/primary'

async function startStore(t: Test, kind: 'etcd' | 'consul', ttl: string): Promise<LeaseStore> {
  if (kind === 'etcd') {
    const server = await startEtcd(t)
    return { ...server, lease: { type: 'etcd', etcd: { endpoints: [server.url], key: KEY, ttl } } }
  }
  const server = await startConsul(t)
  const url = `http://127.0.0.1:${server.port}`
  return { ...server, lease: { type: 'consul', consul: { url, key: KEY, ttl, 'lock-delay': `${LOCK_DELAY_MS}ms` } } }
}

/** Starts nodes one after the other, the first of which becomes the primary. */
export async function startCluster(
  t: Test,
  count: number,
  ttlMs = TTL_MS,
  kind: 'etcd' | 'consul' = 'etcd',
  equip: Equip = () => ({}),
): Promise<Cluster> {
  const store = await startStore(t, kind, `${ttlMs}ms`)
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-cluster-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const lease = {
    ...store.lease,
    'reconnect-delay': '50ms',
    'demote-delay': `${DEMOTE_DELAY_MS}ms`,
  }
  const places: Place[] = []
  const primary = (among: readonly Place[] = places) =>
    eventually('a primary', ttlMs + SLACK_MS + 10_000, async () => {
      for (const place of among) {
        const { isPrimary } = await place.info().catch(() => ({ isPrimary: false }))
        if (isPrimary) return place
      }
      return undefined
    })
  for (let i = 1; i <= count; i++) {
    const url = `http://127.0.0.1:${await freePort()}`
    const place = new Place(t, { hostname: `n${i}`, url, base, lease, equip })
    places.push(place)
    await place.start()
    await place.mount.waitForLine('connected to cluster, ready')
  }
  return { places, store, primary }
}

export const FILE = 'db'

/** Makes the table that the writer needs, on the primary. */
export async function createLog(place: Place): Promise<void> {
  await sqlite(
    path.join(place.dir, FILE),
    'PRAGMA journal_mode=WAL; CREATE TABLE entry(writer TEXT, seq INTEGER, at REAL, PRIMARY KEY(writer, seq));',
  )
}

/** Waits until these nodes are where the primary is, and compares what they hold. */
export async function agreeing(t: Test, primary: Place, others: readonly Place[]): Promise<void> {
  const wanted = async () => contentHash(path.join(primary.dir, FILE))
  for (const other of others) {
    await inSync(t, { primary: primary.mount, replica: other.mount }, FILE)
    t.equal(
      await contentHash(path.join(other.dir, FILE)),
      await wanted(),
      `${other.hostname} has what ${primary.hostname} has`,
    )
  }
}

export interface Acknowledged {
  readonly seq: number
  readonly node: string
  /** When the commit began and when it had returned, milliseconds since the epoch. */
  readonly begunMs: number
  readonly doneMs: number
}

export interface RoutedWriter {
  readonly acknowledged: readonly Acknowledged[]
  /** Requests that did not succeed within their busy timeout, as they were told. */
  readonly failures: readonly string[]
  stop(): Promise<void>
}

/** Starts a writer with a connection to each of these nodes, which stay open whatever happens. */
export async function startWriter(t: Test, name: string, places: readonly Place[]): Promise<RoutedWriter> {
  const files = places.map(({ dir }) => path.join(dir, FILE))
  const child = spawn(process.execPath, [writerScript, name, ...files], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const acknowledged: Acknowledged[] = []
  const failures: string[] = []
  const lines = createInterface(child.stdout)
  lines.on('line', (line) => {
    const [what, ...rest] = line.split(' ')
    const [seq = 0, index = 0, begunMs = 0, doneMs = 0] = rest.map(Number)
    if (what === 'done') acknowledged.push({ seq, node: places[index]?.hostname ?? '', begunMs, doneMs })
    else if (what === 'failed') failures.push(line)
  })
  await once(lines, 'line')
  return {
    acknowledged,
    failures,
    stop: async () => {
      const closed = once(child, 'close')
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), ANSWER_MS)
      await closed
      clearTimeout(timer)
    },
  }
}

/** The numbers that a writer's entries have on a node. */
export async function entriesOf(place: Place, writer: string): Promise<Set<number>> {
  const printed = await sqlite(path.join(place.dir, FILE), `SELECT seq FROM entry WHERE writer='${writer}'`)
  return new Set(printed.split('\n').filter(Boolean).map(Number))
}

/** Waits until a writer has done more. */
export async function more(writer: RoutedWriter, count: number): Promise<void> {
  const wanted = writer.acknowledged.length + count
  await eventually(`${count} more commits (${writer.failures.at(-1)})`, 20_000, async () => {
    await delay(1)
    return writer.acknowledged.length >= wanted ? true : undefined
  })
}
