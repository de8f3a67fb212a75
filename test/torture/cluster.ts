// Nodes on a network of their own with a lease in a real etcd or Consul, each with a disk that can fail and with applications that work on its mount.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { listLtxDirectory } from '../../src/db/ltx-directory.js'
import { rebuildDatabase } from '../../src/db/ltx-rebuild.js'
import { startConsul } from '../servers/consul.js'
import { startEtcd } from '../servers/etcd.js'
import { FailingCalls } from '../system/failing-calls.js'
import { litefsScript, type Mount, run, startMount } from '../system/harness.js'
import { sqlite } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import type { Attempt, Entry, SetAside } from './history.js'
import { type Host, Network } from './network.js'

const exportsScript = fileURLToPath(new URL('exports.js', import.meta.url))
const workload = fileURLToPath(new URL('workload.js', import.meta.url))
export const DATABASES = ['wal.db', 'delete.db', 'mixed.db'] as const
const PORT = 20202
export const TTL_MS = 2000
const END_MS = 60_000

interface Report extends Attempt {
  readonly problem?: string
}

/** What all applications have said. */
export interface Heard {
  readonly attempts: Attempt[]
  readonly problems: string[]
}

/** An application on a node: it is killed and started again, and goes on under another name. */
class Application {
  readonly #t: Test
  readonly #words: (incarnation: number) => string[]
  readonly #onReport: (report: Report) => void
  #incarnation = 0
  #child: ReturnType<typeof spawn> | undefined
  #closed: Promise<unknown> = Promise.resolve()

  constructor(t: Test, words: (incarnation: number) => string[], onReport: (report: Report) => void) {
    this.#t = t
    this.#words = words
    this.#onReport = onReport
  }

  start(): void {
    const [command = '', ...words] = this.#words(++this.#incarnation)
    const child = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#t.teardown(() => child.kill('SIGKILL'))
    child.stdin.on('error', () => {}) // it was killed
    createInterface(child.stdout).on('line', (line) => this.#onReport(JSON.parse(line) as Report))
    this.#child = child
    this.#closed = once(child, 'close')
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#closed
  }

  async end(): Promise<void> {
    const child = this.#child
    child?.stdin?.end()
    const timer = setTimeout(() => child?.kill('SIGKILL'), END_MS)
    await this.#closed
    clearTimeout(timer)
    if (child?.signalCode === 'SIGKILL') throw new Error(`Cannot end an application within ${END_MS} ms: a call hangs`)
  }
}

/** What a node says when its content is not what it believes to have. */
const DIFFERS = /.*its checksum should be.*/g

export class Node {
  readonly name: string
  readonly host: Host
  readonly dir: string
  readonly dataDir: string
  readonly disk: FailingCalls
  readonly writer: Application
  readonly reader: Application
  /** Has the node compare what it has with what it believes to have. */
  readonly exports: Application
  readonly #t: Test
  readonly #lease: object
  readonly #mounts: Mount[] = []

  constructor(t: Test, name: string, host: Host, { base, disk, lease, heard, seed }: NodeOptions) {
    this.name = name
    this.host = host
    this.disk = disk
    this.#t = t
    this.#lease = lease
    this.dir = path.join(base, name, 'mount')
    this.dataDir = path.join(base, name, 'data')
    const application = (role: 'write' | 'read', number: number) =>
      new Application(
        t,
        (incarnation) => [
          process.execPath,
          workload,
          role,
          `${name}.${incarnation}`,
          String(seed + 100 * incarnation + number),
          this.dir,
          this.dataDir,
        ],
        (report) => {
          if (report.problem !== undefined) heard.problems.push(`${name}: ${report.problem}`)
          else if (report.name !== undefined) heard.attempts.push({ ...report, node: name })
        },
      )
    this.writer = application('write', 1)
    this.reader = application('read', 2)
    const words = [...host.via, process.execPath, exportsScript, `http://${host.address}:${PORT}`, ...DATABASES]
    this.exports = new Application(
      t,
      () => words,
      () => {},
    )
  }

  get mount(): Mount {
    const mount = this.#mounts.at(-1)
    if (mount === undefined) throw new Error(`Cannot use ${this.name}: it does not run`)
    return mount
  }

  /** What all its daemons have printed, one after the other. */
  get printed(): string {
    return this.#mounts.map(({ output }) => output()).join('\n')
  }

  /** What it has said of content that is not what it believes to have. */
  get differences(): string[] {
    return (this.printed.match(DIFFERS) ?? []).map((line) => `${this.name}: ${line}`)
  }

  async start(): Promise<void> {
    // Once only: a killed daemon leaves a mount behind that answers nothing.
    if (this.#mounts.length === 0) await mkdir(this.dir, { recursive: true })
    const { address, via } = this.host
    const mount = await startMount(this.#t, {
      dataDir: this.dataDir,
      mountDir: this.dir,
      via: [...via],
      env: this.disk.env,
      configExtra: {
        lease: { ...this.#lease, hostname: this.name, 'advertise-url': `http://${address}:${PORT}` },
        http: { addr: `:${PORT}` },
        data: { retention: '24h' }, // what is set aside can then be rebuilt from the first transaction on
        log: { timestamp: true },
      },
    })
    this.#mounts.push(mount)
  }

  /** `litefs WORDS`, on this node. Its exit code is a result: a node in trouble may refuse. */
  async litefs(...words: string[]): Promise<{ code: number | null; stderr: string }> {
    const [command = '', ...rest] = this.host.via
    return await run(command, [...rest, process.execPath, litefsScript, ...words])
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.mount.pid, name)
  }

  /** Resident memory of the daemon, MB. */
  async residentMb(): Promise<number> {
    const status = await readFile(`/proc/${this.mount.pid}/status`, 'utf8')
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
  }

  /** The logs of databases that a snapshot of another node has replaced. */
  async setAside(): Promise<SetAside[]> {
    const parent = path.join(this.dataDir, 'superseded')
    const names = existsSync(parent) ? (await readdir(parent)).sort() : []
    const found: SetAside[] = []
    for (const name of names) {
      const database = DATABASES.find((one) => name.startsWith(`${one}-`))
      if (database === undefined) throw new Error(`Cannot tell whose ${name} is`)
      const rebuilt = path.join(parent, `${name}.rebuilt`)
      await rebuildDatabase(rebuilt, chainOf(path.join(parent, name)))
      found.push({ database, node: this.name, log: await logOf(rebuilt) })
      await rm(rebuilt)
    }
    return found
  }
}

/** The files that lead to the newest: a node that was killed just when a snapshot had arrived has those that it replaces, too. */
function chainOf(directory: string): string[] {
  const chain: string[] = []
  let next: bigint | undefined
  for (const { path: file, minTxid, maxTxid } of listLtxDirectory(directory).reverse()) {
    if (next !== undefined && maxTxid !== next) continue
    chain.unshift(file)
    next = minTxid - 1n
  }
  return chain
}

interface NodeOptions {
  readonly base: string
  readonly disk: FailingCalls
  readonly lease: object
  readonly heard: Heard
  readonly seed: number
}

/** The log of a database, as SQLite reads it. */
export async function logOf(file: string): Promise<Entry[]> {
  const printed = await sqlite(file, 'SELECT id, name, previous FROM entry ORDER BY id')
  return printed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id, name = '', previous = ''] = line.split('|')
      return { id: Number(id), name, previous }
    })
}

export interface Cluster {
  readonly network: Network
  readonly nodes: readonly Node[]
  readonly store: TorturedStore
  readonly heard: Heard
}

/** A lease store that is killed and stopped. Consul then has lost its data, etcd has not. */
export interface TorturedStore {
  /** Of `litefs.yml`. */
  readonly lease: object
  /** How long a lease can last when its holder is gone, milliseconds. */
  readonly longestLeaseMs: number
  stop(): Promise<void>
  start(): Promise<void>
  signal(name: 'SIGSTOP' | 'SIGCONT'): void
}

export const STORES = ['etcd', 'consul'] as const
const KEY = 'torture/primary'
const LOCK_DELAY_MS = 500

async function startStore(t: Test, kind: (typeof STORES)[number], hub: Host): Promise<TorturedStore> {
  const ttl = `${TTL_MS}ms`
  if (kind === 'etcd') {
    const server = await startEtcd(t, undefined, hub)
    const lease = { type: 'etcd', etcd: { endpoints: [server.url], key: KEY, ttl } }
    return { ...server, lease, longestLeaseMs: TTL_MS }
  }
  const server = await startConsul(t, {}, undefined, hub)
  const lease = { type: 'consul', consul: { url: server.url, key: KEY, ttl, 'lock-delay': `${LOCK_DELAY_MS}ms` } }
  return { ...server, lease, longestLeaseMs: 2 * TTL_MS + LOCK_DELAY_MS }
}

export interface ClusterOptions {
  readonly count: number
  readonly seed: number
  readonly store: (typeof STORES)[number]
}

/** Starts the nodes, with the databases in all of them and nobody working on them. */
export async function startCluster(t: Test, { count, seed, store: kind }: ClusterOptions): Promise<Cluster> {
  const network = await Network.build(t, count)
  const store = await startStore(t, kind, network.hub)
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-torture-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const lease = {
    ...store.lease,
    'reconnect-delay': '50ms',
    'demote-delay': '3s',
  }
  const heard: Heard = { attempts: [], problems: [] }
  const nodes: Node[] = []
  for (const [i, host] of network.nodes.entries()) {
    const name = `n${i + 1}`
    const disk = await FailingCalls.build(t, path.join(base, name, 'data'))
    const node = new Node(t, name, host, { base, disk, lease, heard, seed: seed + 1000 * i })
    await node.start()
    await node.mount.waitForLine('connected to cluster, ready')
    if (i === 0) await createDatabases(node)
    nodes.push(node)
  }
  for (const node of nodes) {
    await eventually(`the databases on ${node.name}`, END_MS, async () =>
      DATABASES.every((name) => existsSync(path.join(node.dir, name))) ? true : undefined,
    )
  }
  return { network, nodes, store, heard }
}

async function createDatabases({ dir }: Node): Promise<void> {
  for (const database of DATABASES) {
    const mode = database === 'delete.db' ? 'delete' : 'wal'
    await sqlite(
      path.join(dir, database),
      `PRAGMA journal_mode=${mode};
       BEGIN;
       CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);
       CREATE TABLE entry(id INTEGER PRIMARY KEY, name TEXT UNIQUE, previous TEXT, filler BLOB);
       WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50) INSERT INTO account SELECT i, 1000 FROM n;
       COMMIT;`,
    )
  }
}
