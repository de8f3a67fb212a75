import { fileURLToPath } from 'node:url'
import { Applier } from './apply/applier.js'
import { atMost } from './apply/at-most.js'
import { ThreadGate } from './apply/thread-gate.js'
import type { Fence } from './fence.js'
import { GONE_MS, HaltDesk } from './halt/desk.js'
import { HaltHolder } from './halt/holder.js'
import type { HaltTarget } from './http/halt-client.js'
import type { PrimaryView, Serving } from './http/node-view.js'
import type { PrimaryInfo } from './lease/leaser.js'
import type { Term } from './lease/role-terms.js'
import { describeError, type Log } from './log.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import type { DatabaseStatus } from './mount/messages.js'
import type { OpenWrites } from './open-writes.js'
import { Replica, type ReplicaOptions } from './replica.js'
import type { ConnectedReplica, ConnectedReplicas } from './replication/connected-replicas.js'

export interface RoleSwitchParts {
  readonly thread: FileSystemThread
  readonly fence: Fence
  readonly mountDir: string
  readonly replica: ReplicaOptions
  /** Through the proxy, which begins no more of them while the lease is handed over. */
  readonly writes: OpenWrites
  /** How long a halt lock lasts after its holder was last heard of, milliseconds. */
  readonly haltTtlMs: number
  /** Those that follow this node. */
  readonly replicas: ConnectedReplicas
  /** Of a static lease there is one only, which is not counted. */
  readonly countsEpochs: boolean
  readonly log: Log
}

/** How long the applier waits for readers that keep a database in a rollback mode locked, milliseconds. */
const BUSY_TIMEOUT_MS = 60_000
/** How long readers may keep this node from becoming the primary, milliseconds: their databases then follow when they can. And from its end. */
const READERS_MS = 500
/** How long requests that may write are waited for before the lease is handed over, milliseconds: after that they are refused. */
const REQUESTS_MS = 2000
/** How long writers that are at work are waited for before the lease is handed over, milliseconds. */
const WRITERS_MS = 2000
/** How long the node that gets the lease may take to be sent what it lacks, milliseconds: nobody can write meanwhile. */
const LAST_TRANSACTIONS_MS = 5000

/**
 * The role of this node at work: what is followed, who may write, and who is served. Nothing is opened anew when it changes: the files that
 * applications have open become writable, or are not any more. One call at a time, the next when it has settled.
 */
export class RoleSwitch {
  readonly #parts: RoleSwitchParts
  readonly #applier: Applier
  readonly #replica: Replica
  /** The halt locks that others hold on this node's databases, and those that this node holds. */
  readonly desk: HaltDesk
  readonly holder: HaltHolder
  /** Databases that still get what the last primary has sent, while this node leads the others. */
  #late: ReadonlySet<string> = new Set()
  #serving: { controller: AbortController; epoch: bigint | undefined } | undefined

  /** A replica of nobody, which the file-system thread must have been told (`receive`), and the mount be served. */
  constructor(parts: RoleSwitchParts) {
    const { thread, mountDir, log, replica } = parts
    this.#parts = parts
    this.#applier = new Applier({
      dir: mountDir,
      script: fileURLToPath(new URL('./apply/main.js', import.meta.url)),
      gate: new ThreadGate(thread),
      log,
      sync: false,
      busyTimeoutMs: BUSY_TIMEOUT_MS,
    })
    this.#replica = new Replica(thread, this.#applier, replica, log)
    const halts = { thread, applier: this.#applier, ttlMs: parts.haltTtlMs, log }
    this.desk = new HaltDesk({
      ...halts,
      fence: parts.fence,
      goneMs: GONE_MS,
      isServing: () => this.#serving !== undefined,
      isLate: (name) => this.#late.has(name),
      isFollowing: (nodeId) => parts.replicas.all.some((replica) => replica.nodeId === nodeId),
    })
    this.holder = new HaltHolder({
      ...halts,
      primary: () => (this.#serving === undefined ? { target: this.#haltTarget() } : undefined),
      forget: (name) => this.#replica.forget(name),
    })
  }

  /** Undefined while this node is no primary. */
  get serving(): Serving | undefined {
    if (this.#serving === undefined) return undefined
    return { signal: this.#serving.controller.signal, epoch: this.#serving.epoch }
  }

  /** Whom this node follows. */
  get primary(): PrimaryView | undefined {
    return this.#serving === undefined ? this.#replica.primary : undefined
  }

  get lagMs(): number | undefined {
    return this.#serving === undefined ? this.#replica.lagMs : 0
  }

  /** Why the node cannot serve what its cluster has. */
  get notReady(): string | undefined {
    return this.#serving === undefined ? this.#replica.notReady : undefined
  }

  /** See Replica. */
  get replica(): Pick<Replica, 'positions'> {
    return this.#replica
  }

  /** Commits may be acknowledged until this moment of `monotonicMs`. */
  fence(untilMs: number): void {
    this.#parts.fence.openUntil(untilMs)
  }

  /**
   * Before `lead`: what has arrived from the last primary is applied, and the databases are let go, but for those whose readers are in the way for
   * too long.
   */
  async prepare(): Promise<void> {
    await this.holder.close('this node becomes the primary')
    await atMost(this.#replica.stop(), READERS_MS)
    this.#late = new Set(this.#applier.busy)
    await this.#replica.release(this.#late)
  }

  /** Becomes the primary, who commits as long as the fence is open. */
  async lead({ epoch }: Term): Promise<void> {
    const { thread, countsEpochs } = this.#parts
    await thread.ask({ kind: 'lead', late: [...this.#late] })
    this.#replica.wasPrimary()
    const controller = new AbortController()
    this.#serving = { controller, epoch: countsEpochs ? epoch : undefined }
    this.#applier.lead(controller.signal)
    if (this.#late.size > 0) void this.#arrive(this.#late)
  }

  /**
   * Before a replica that knows other transactions of this database than this primary gets it as it is here: SQLite knows by the schema cookie
   * alone whether the schema that a connection has read is still the schema, and both may have come to the same number. Resolves to whether that
   * could be done; never rejects.
   */
  async raiseSchemaCookie(name: string): Promise<boolean> {
    try {
      if (this.#serving === undefined || this.#late.has(name)) throw new Error(`${name} is not written here`)
      await this.#applier.raiseSchemaCookie(name)
      return true
    } catch (error) {
      this.#parts.log.warn(
        `cannot raise the schema cookie of ${name} for a replica that has other transactions: should the schema differ there, connections on it must be opened anew: ${describeError(error)}`,
      )
      return false
    }
  }

  /** Has the late databases written by everybody once they have everything. Never rejects. */
  async #arrive(late: ReadonlySet<string>): Promise<void> {
    const { thread, log } = this.#parts
    const names = [...late].join(', ')
    log.warn(`${names} cannot be written yet: what the last primary has sent waits for readers`)
    await this.#replica.stop()
    // The role may have changed meanwhile.
    if (this.#late !== late) return
    this.#late = new Set()
    try {
      for (const name of late) {
        await this.#applier.release(name)
        await thread.ask({ kind: 'unhalt', name })
        this.#replica.forget(name)
      }
      log.info(`${names} can be written`)
    } catch (error) {
      log.error(`cannot let go of ${names}: ${describeError(error)}`)
    }
  }

  /** Becomes a replica, of another primary or of nobody. Commits nothing from the call on. */
  async follow(primary: PrimaryInfo | undefined): Promise<void> {
    this.#parts.fence.close()
    await this.#endHalts('the primary has changed')
    const stopped = this.#replica.stop()
    if (primary === undefined) await atMost(stopped, READERS_MS)
    else await stopped
    await this.#receive(primary?.hostname, this.#late.size > 0 ? this.#applier.pid : undefined)
    this.#late = new Set()
    this.#endStreams()
    if (primary !== undefined)
      this.#replica.start({ hostname: primary.hostname, url: primary.advertiseUrl, proxyUrl: primary.proxyUrl })
  }

  /**
   * Hands the lease to a connected replica: waits for writers that are at work and keeps others waiting, commits no more, sends the replica
   * what it lacks, and then the lease. Resolves to false where the lease has not left this node: nobody can write here all the same.
   */
  async handOver(to: ConnectedReplica, leaseId: string, renew: () => Promise<boolean>): Promise<boolean> {
    const { writes, log } = this.#parts
    if (this.#late.size > 0) {
      log.warn(`cannot hand over: what the last primary has sent waits for readers of ${[...this.#late].join(', ')}`)
      return false
    }
    return await this.#withoutWriters(to.facts.hostname || undefined, async (quiet) => {
      if (writes.count > 0) {
        if (!(await renew())) return false
        await writes.ended(REQUESTS_MS)
      }
      // The other one then has nearly the whole of a lease before it.
      if (!(await renew())) return false
      await quiet()
      return await to.handOver(leaseId, LAST_TRANSACTIONS_MS)
    })
  }

  /**
   * Before this primary gives up its lease and nobody it knows of is there to take it: commits no more, and sends everything to all that follow
   * it, of which one may be the next primary all the same: LiteFS' nodes do not say whether they are candidates.
   */
  async finish(): Promise<void> {
    if (this.#serving === undefined) return
    const { replicas } = this.#parts
    await this.#withoutWriters(undefined, async (quiet) => {
      await quiet()
      const completed = await Promise.all(replicas.all.map((replica) => replica.completed(LAST_TRANSACTIONS_MS)))
      if (completed.every(Boolean)) return
      this.#parts.log.warn('not all that follow have everything: the next primary may lack transactions of this node')
    })
  }

  /** Has `work` done, which calls `quiet` once writers are to be waited for and kept out. Nobody can write here afterwards. */
  async #withoutWriters<T>(next: string | undefined, work: (quiet: () => Promise<void>) => Promise<T>): Promise<T> {
    const { thread, fence, log } = this.#parts
    let names: readonly string[] = []
    const quiet = async () => {
      await this.#endHalts('another node becomes the primary')
      const isFree = ({ name, isOpen }: DatabaseStatus) => isOpen && !this.#late.has(name)
      names = (await thread.ask({ kind: 'databases' })).filter(isFree).map(({ name }) => name)
      const { pid, failures } = await this.#applier.hold(names, { timeoutMs: WRITERS_MS, recover: false })
      for (const failure of failures)
        log.warn(`a transaction is broken off by the change of the primary: ${describeError(failure)}`)
      await this.#receive(next, pid)
    }
    try {
      return await work(quiet)
    } finally {
      fence.close()
      await this.#receive(next, undefined)
      this.#endStreams()
      await this.#applier.letGo(names)
    }
  }

  /** Ends what follows and what applies; a transaction that is being applied is finished, unless readers are in its way. */
  async close(): Promise<void> {
    this.#parts.fence.close()
    await this.holder.releaseAll()
    await this.#endHalts('this node ends')
    await atMost(this.#replica.stop(), READERS_MS)
    this.#endStreams()
    await this.#applier.close()
  }

  async #receive(primary: string | undefined, pid: number | undefined): Promise<void> {
    await this.#parts.thread.ask({ kind: 'receive', primary, pid })
  }

  async #endHalts(why: string): Promise<void> {
    await Promise.all([this.desk.close(why), this.holder.close(why)])
  }

  /** Undefined while there is no primary. */
  #haltTarget(): HaltTarget | undefined {
    const url = this.#replica.primary?.url
    const { access, nodeId, clusterId, facts } = this.#parts.replica
    return url === undefined ? undefined : { url, access, nodeId, clusterId: clusterId(), epoch: facts().epoch }
  }

  #endStreams(): void {
    this.#serving?.controller.abort()
    this.#serving = undefined
  }
}

/** What a role is made of. */
export type SwitchedNode = Pick<
  RoleSwitch,
  | 'serving'
  | 'primary'
  | 'lagMs'
  | 'notReady'
  | 'replica'
  | 'fence'
  | 'prepare'
  | 'lead'
  | 'follow'
  | 'handOver'
  | 'finish'
  | 'close'
>
