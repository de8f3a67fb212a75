import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { monotonicMs } from '../monotonic.js'
import { ConsulApi, type ConsulEntry, type ConsulStep } from './consul-api.js'
import { decodeEntry, decodeEpoch, encodeEntry, isSamePrimary, type Keys, keysOf, soleFrom } from './entries.js'
import type { Announcement, Lease, Leaser, NodeInfo, PrimaryInfo } from './leaser.js'
import type { TlsMaterial } from './store-client.js'

export interface ConsulOptions {
  /** `lease.consul.url`: the password is the token, the path a prefix of the keys. */
  readonly url: string
  readonly key: string
  readonly ttlMs: number
  readonly lockDelayMs: number
  readonly tls: TlsMaterial | undefined
}

/** Longest that one answer may take, milliseconds; half of the TTL where that is less, so that a renewal can be tried again. */
const TIMEOUT_MS = 5000
/** Pause after an answer to a blocking query that tells nothing new, milliseconds: a key that does not exist wakes with its neighbours. */
const NOTHING_NEW_MS = 100

/**
 * A lease as LiteFS has it in Consul: a key locked by a session. Beside LiteFS' keys there is a counter of epochs, written in the same
 * transaction as the lease, and a key for each candidate.
 */
export class ConsulLeaser implements Leaser {
  readonly name = 'consul'
  readonly ttlMs: number
  readonly #api: ConsulApi
  readonly #keys: Keys
  /** The catalog node that sessions belong to; undefined for the agent's own. */
  readonly #node: string | undefined
  readonly #lockDelayMs: number

  constructor({ url, key, ttlMs, lockDelayMs, tls }: ConsulOptions) {
    const { origin, password, pathname } = new URL(url)
    const prefix = decodeURIComponent(pathname).replace(/^\//, '')
    this.ttlMs = ttlMs
    this.#lockDelayMs = lockDelayMs
    this.#api = new ConsulApi(origin, decodeURIComponent(password), tls, Math.min(TIMEOUT_MS, ttlMs / 2))
    this.#keys = keysOf(path.posix.join(prefix, key))
    this.#node = prefix === '' ? undefined : path.posix.join(prefix, 'litefs')
  }

  async acquire(info: NodeInfo, above: bigint, signal: AbortSignal): Promise<Lease | undefined> {
    const begunMs = monotonicMs()
    const session = await this.#createSession(this.#lockDelayMs, signal)
    const lease = { id: session, ttlMs: this.ttlMs, begunMs }
    const acquired = await this.#lock(lease, info, above, [], signal).catch(async (error) => {
      await this.#abandon(session)
      throw error
    })
    if (acquired === undefined) await this.#api.destroySession(session, signal)
    return acquired
  }

  async takeOver(leaseId: string, info: NodeInfo, above: bigint, signal: AbortSignal): Promise<Lease | undefined> {
    const begunMs = monotonicMs()
    const ttlMs = await this.#api.renewSession(leaseId, signal)
    if (ttlMs === undefined) return undefined
    const held: ConsulStep = { Verb: 'check-session', Key: this.#keys.lease, Session: leaseId }
    return await this.#lock({ id: leaseId, ttlMs, begunMs }, info, above, [held], signal)
  }

  async primary(signal: AbortSignal): Promise<PrimaryInfo | undefined> {
    return this.#primaryIn(await this.#api.get(this.#keys.lease, signal))
  }

  async changed(seen: PrimaryInfo | undefined, waitMs: number, signal: AbortSignal): Promise<PrimaryInfo | undefined> {
    const until = monotonicMs() + waitMs
    let { entry, index } = await this.#api.wait(this.#keys.lease, undefined, signal)
    while (isSamePrimary(this.#primaryIn(entry), seen) && monotonicMs() < until) {
      const next = await this.#api.wait(this.#keys.lease, { index, waitMs: until - monotonicMs() }, signal)
      entry = next.entry
      // Where the index goes back, the store has lost its data.
      index = next.index < index ? 0 : next.index
      const restMs = until - monotonicMs()
      if (restMs > 0 && isSamePrimary(this.#primaryIn(entry), seen)) {
        await setTimeout(Math.min(NOTHING_NEW_MS, restMs), undefined, { signal })
      }
    }
    return this.#primaryIn(entry)
  }

  async clusterId(signal: AbortSignal): Promise<string | undefined> {
    const entry = await this.#api.get(this.#keys.clusterId, signal)
    return entry?.value.trim() || undefined
  }

  async swapClusterId(from: string | undefined, to: string | undefined, signal: AbortSignal): Promise<boolean> {
    const Key = this.#keys.clusterId
    const entry = await this.#api.get(Key, signal)
    if ((entry?.value.trim() || undefined) !== from) return false
    if (to === undefined && entry === undefined) return true
    const Index = entry?.modifyIndex ?? 0
    const step: ConsulStep =
      to === undefined ? { Verb: 'delete-cas', Key, Index } : { Verb: 'cas', Key, Index, Value: to }
    return (await this.#api.transact('write the cluster id', [step], signal)) !== undefined
  }

  async announce(info: NodeInfo, signal: AbortSignal): Promise<Announcement> {
    const session = await this.#createSession(0, signal)
    const key = `${this.#keys.candidates}${info.nodeId ?? session}`
    try {
      if (!(await this.#api.lock(key, encodeEntry(info), session, signal))) {
        throw new Error(`Cannot announce this node: key ${key} of ${this.#api.where} belongs to another program`)
      }
    } catch (error) {
      await this.#abandon(session)
      throw error
    }
    return {
      ttlMs: this.ttlMs,
      renew: async (during) => (await this.#api.renewSession(session, during)) !== undefined,
      withdraw: async (during) => await this.#api.destroySession(session, during),
    }
  }

  async candidates(signal: AbortSignal): Promise<readonly NodeInfo[]> {
    const entries = await this.#api.list(this.#keys.candidates, signal)
    return entries
      .filter(({ session }) => session !== undefined)
      .map(({ key, value }) => decodeEntry(value, key, this.#api.where))
  }

  async close(): Promise<void> {
    await this.#api.close()
  }

  async #createSession(lockDelayMs: number, signal: AbortSignal): Promise<string> {
    // Each time: a Consul that lost its data does not know the node any more.
    if (this.#node !== undefined) await this.#api.registerNode(this.#node, signal)
    return await this.#api.createSession({ node: this.#node, ttlMs: this.ttlMs, lockDelayMs }, signal)
  }

  /** Ends a session that is of no use. Where that fails as well, its TTL ends it. */
  async #abandon(session: string): Promise<void> {
    await Promise.allSettled([this.#api.destroySession(session, AbortSignal.timeout(TIMEOUT_MS))])
  }

  async #lock(
    { id, ttlMs, begunMs }: { id: string; ttlMs: number; begunMs: number },
    info: NodeInfo,
    above: bigint,
    conditions: readonly ConsulStep[],
    signal: AbortSignal,
  ): Promise<Lease | undefined> {
    const { lease, epoch: epochKey } = this.#keys
    const counter = await this.#api.get(epochKey, signal)
    const last = decodeEpoch(counter?.value, epochKey, this.#api.where)
    const epoch = (last > above ? last : above) + 1n
    const steps: ConsulStep[] = [
      ...conditions,
      { Verb: 'lock', Key: lease, Value: encodeEntry(info, epoch), Session: id },
      { Verb: 'cas', Key: epochKey, Value: String(epoch), Index: counter?.modifyIndex ?? 0 },
    ]
    const written = await this.#api.transact('acquire the lease', steps, signal)
    if (written === undefined) return undefined
    const soleFromMs = soleFrom(last, above, begunMs + ttlMs)
    return new ConsulLease(this.#api, lease, { id, epoch, ttlMs, renewedAtMs: begunMs, soleFromMs })
  }

  /** A key that nobody has locked names nobody: LiteFS leaves an empty one behind. */
  #primaryIn(entry: ConsulEntry | undefined): PrimaryInfo | undefined {
    if (entry?.session === undefined || entry.value === '') return undefined
    return decodeEntry(entry.value, entry.key, this.#api.where)
  }
}

class ConsulLease implements Lease {
  readonly id: string
  readonly epoch: bigint
  readonly ttlMs: number
  readonly soleFromMs: number
  readonly #api: ConsulApi
  readonly #key: string
  #renewedAtMs: number

  constructor(
    api: ConsulApi,
    key: string,
    { id, epoch, ttlMs, renewedAtMs, soleFromMs }: Pick<Lease, 'id' | 'epoch' | 'ttlMs' | 'renewedAtMs' | 'soleFromMs'>,
  ) {
    this.#api = api
    this.#key = key
    this.id = id
    this.epoch = epoch
    this.ttlMs = ttlMs
    this.soleFromMs = soleFromMs
    this.#renewedAtMs = renewedAtMs
  }

  get renewedAtMs(): number {
    return this.#renewedAtMs
  }

  async renew(signal: AbortSignal): Promise<boolean> {
    const begunMs = monotonicMs()
    if ((await this.#api.renewSession(this.id, signal)) === undefined) return false
    // The session can outlive the lock: somebody removes the key, or the lease was handed over with it.
    const entry = await this.#api.get(this.#key, signal)
    if (entry === undefined || !this.#isOurs(entry)) return false
    this.#renewedAtMs = begunMs
    return true
  }

  async release(signal: AbortSignal): Promise<void> {
    const entry = await this.#api.get(this.#key, signal)
    const holds = entry?.session === this.id
    if (holds && !this.#isOurs(entry)) return
    if (holds) {
      // First the key: a session that ends while it has a key locked keeps others waiting for the lock-delay.
      const step: ConsulStep = { Verb: 'delete-cas', Key: this.#key, Index: entry.modifyIndex }
      if ((await this.#api.transact('release the lease', [step], signal)) === undefined) return
    }
    await this.#api.destroySession(this.id, signal)
  }

  #isOurs(entry: ConsulEntry): boolean {
    if (entry.session !== this.id || entry.value === '') return false
    return decodeEntry(entry.value, entry.key, this.#api.where).epoch === this.epoch
  }
}
