import { monotonicMs } from '../monotonic.js'
import { decodeEntry, decodeEpoch, encodeEntry, isSamePrimary, type Keys, keysOf, soleFrom } from './entries.js'
import { EtcdApi, type EtcdCondition, type EtcdEntry } from './etcd-api.js'
import type { Announcement, Lease, Leaser, NodeInfo, PrimaryInfo } from './leaser.js'
import type { TlsMaterial } from './store-client.js'

export interface EtcdOptions {
  /** Origins; any of them will do. */
  readonly endpoints: readonly string[]
  readonly key: string
  /** etcd rounds it up to seconds, and to half as much again as its election timeout. */
  readonly ttlMs: number
  /** Empty where etcd asks for none. */
  readonly username: string
  readonly password: string
  readonly tls: TlsMaterial | undefined
}

/** Longest that a call may take, milliseconds, over all endpoints; half of the TTL where that is less. */
const TIMEOUT_MS = 5000
/** Shortest time that an endpoint gets, milliseconds. */
const MIN_TIMEOUT_MS = 500

/** A lease in etcd: a key that ends with an etcd lease, a counter of epochs written with it, and a key for each candidate. */
export class EtcdLeaser implements Leaser {
  readonly name = 'etcd'
  readonly ttlMs: number
  readonly #api: EtcdApi
  readonly #keys: Keys

  constructor({ endpoints, key, ttlMs, username, password, tls }: EtcdOptions) {
    this.ttlMs = ttlMs
    const timeoutMs = Math.max(MIN_TIMEOUT_MS, Math.min(TIMEOUT_MS, ttlMs / 2) / endpoints.length)
    this.#api = new EtcdApi({ endpoints, username, password, tls, timeoutMs })
    this.#keys = keysOf(key)
  }

  async acquire(info: NodeInfo, above: bigint, signal: AbortSignal): Promise<Lease | undefined> {
    const begunMs = monotonicMs()
    const { id, ttlMs } = await this.#api.grant(this.ttlMs, signal)
    const lease = { id, ttlMs: Math.min(ttlMs, this.ttlMs), begunMs }
    const free: EtcdCondition = { key: this.#keys.lease, modRevision: '0' }
    const acquired = await this.#write(lease, info, above, free, signal).catch(async (error) => {
      await this.#abandon(id)
      throw error
    })
    if (acquired === undefined) await this.#api.revoke(id, signal)
    return acquired
  }

  async takeOver(leaseId: string, info: NodeInfo, above: bigint, signal: AbortSignal): Promise<Lease | undefined> {
    if (!/^\d{1,19}$/.test(leaseId)) return undefined
    const begunMs = monotonicMs()
    const renewed = await this.#api.keepAlive(leaseId, signal)
    if (renewed === undefined) return undefined
    const { ttlMs, term } = renewed
    checkTerm(term, (await this.#api.get(this.#keys.lease, signal)).term)
    const held: EtcdCondition = { key: this.#keys.lease, lease: leaseId }
    return await this.#write({ id: leaseId, ttlMs, begunMs }, info, above, held, signal)
  }

  async primary(signal: AbortSignal): Promise<PrimaryInfo | undefined> {
    return this.#primaryIn((await this.#api.get(this.#keys.lease, signal)).entry)
  }

  async changed(seen: PrimaryInfo | undefined, waitMs: number, signal: AbortSignal): Promise<PrimaryInfo | undefined> {
    const enough = AbortSignal.timeout(Math.ceil(waitMs))
    for (;;) {
      const { entry, revision } = await this.#api.get(this.#keys.lease, signal)
      const primary = this.#primaryIn(entry)
      if (enough.aborted || !isSamePrimary(primary, seen)) return primary
      await this.#api.change(this.#keys.lease, revision + 1n, AbortSignal.any([signal, enough])).catch((error) => {
        if (signal.aborted || !enough.aborted) throw error
      })
    }
  }

  async clusterId(signal: AbortSignal): Promise<string | undefined> {
    const { entry } = await this.#api.get(this.#keys.clusterId, signal)
    return entry?.value.trim() || undefined
  }

  async swapClusterId(from: string | undefined, to: string | undefined, signal: AbortSignal): Promise<boolean> {
    const key = this.#keys.clusterId
    const { entry } = await this.#api.get(key, signal)
    if ((entry?.value.trim() || undefined) !== from) return false
    const modRevision = entry?.modRevision ?? '0'
    const swap = { conditions: [{ key, modRevision }], changes: [{ key, value: to }], otherwise: key }
    const { succeeded, entry: found } = await this.#api.transact('write the cluster id', swap, signal)
    // An endpoint can have done it and not lived to tell: then the next one finds it done.
    return succeeded || (found?.value.trim() || undefined) === to
  }

  async announce(info: NodeInfo, signal: AbortSignal): Promise<Announcement> {
    const { id, ttlMs } = await this.#api.grant(this.ttlMs, signal)
    const key = `${this.#keys.candidates}${info.nodeId ?? id}`
    const changes = [{ key, value: encodeEntry(info), lease: id }]
    await this.#api.transact('announce this node', { conditions: [], changes, otherwise: key }, signal)
    return {
      ttlMs,
      renew: async (during) => (await this.#api.keepAlive(id, during)) !== undefined,
      withdraw: async (during) => await this.#api.revoke(id, during),
    }
  }

  async candidates(signal: AbortSignal): Promise<readonly NodeInfo[]> {
    const entries = await this.#api.list(this.#keys.candidates, signal)
    return entries.map(({ key, value }) => decodeEntry(value, key, this.#api.where))
  }

  async close(): Promise<void> {
    await this.#api.close()
  }

  /** Ends a lease that is of no use. Where that fails as well, its TTL ends it. */
  async #abandon(id: string): Promise<void> {
    await Promise.allSettled([this.#api.revoke(id, AbortSignal.timeout(TIMEOUT_MS))])
  }

  async #write(
    { id, ttlMs, begunMs }: { id: string; ttlMs: number; begunMs: number },
    info: NodeInfo,
    above: bigint,
    condition: EtcdCondition,
    signal: AbortSignal,
  ): Promise<Lease | undefined> {
    const { lease: key, epoch: epochKey } = this.#keys
    const { entry: counter } = await this.#api.get(epochKey, signal)
    const last = decodeEpoch(counter?.value, epochKey, this.#api.where)
    const epoch = (last > above ? last : above) + 1n
    const value = encodeEntry(info, epoch)
    const { succeeded, revision, entry } = await this.#api.transact(
      'acquire the lease',
      {
        conditions: [condition, { key: epochKey, modRevision: counter?.modRevision ?? '0' }],
        changes: [
          { key, value, lease: id },
          { key: epochKey, value: String(epoch) },
        ],
        otherwise: key,
      },
      signal,
    )
    const lease = { id, epoch, ttlMs, renewedAtMs: begunMs, soleFromMs: soleFrom(last, above, begunMs + ttlMs) }
    if (succeeded) return new EtcdLease(this.#api, key, lease, revision)
    // An endpoint can have done it and not lived to tell: then the next one finds it done.
    const isDone = entry?.lease === id && entry.value === value
    return isDone ? new EtcdLease(this.#api, key, lease, entry.modRevision) : undefined
  }

  #primaryIn(entry: EtcdEntry | undefined): PrimaryInfo | undefined {
    return entry && decodeEntry(entry.value, entry.key, this.#api.where)
  }
}

function checkTerm(before: string, after: string): void {
  if (before !== after) throw new Error('Cannot renew the lease: etcd has chosen another leader meanwhile')
}

class EtcdLease implements Lease {
  readonly id: string
  readonly epoch: bigint
  readonly ttlMs: number
  readonly soleFromMs: number
  readonly #api: EtcdApi
  readonly #key: string
  /** Of the key since this tenure began. */
  readonly #modRevision: string
  #renewedAtMs: number

  constructor(
    api: EtcdApi,
    key: string,
    { id, epoch, ttlMs, renewedAtMs, soleFromMs }: Pick<Lease, 'id' | 'epoch' | 'ttlMs' | 'renewedAtMs' | 'soleFromMs'>,
    modRevision: string,
  ) {
    this.#api = api
    this.#key = key
    this.#modRevision = modRevision
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
    const renewed = await this.#api.keepAlive(this.id, signal)
    if (renewed === undefined) return false
    // The etcd lease can outlive the key: somebody removes that, or the lease was handed over with it.
    const { entry, term } = await this.#api.get(this.#key, signal)
    if (entry?.lease !== this.id || entry.modRevision !== this.#modRevision) return false
    checkTerm(renewed.term, term)
    this.#renewedAtMs = begunMs
    return true
  }

  async release(signal: AbortSignal): Promise<void> {
    const ours = { key: this.#key, modRevision: this.#modRevision }
    const removal = { conditions: [ours], changes: [{ key: this.#key, value: undefined }], otherwise: this.#key }
    const { succeeded, entry } = await this.#api.transact('release the lease', removal, signal)
    if (!succeeded && entry?.lease === this.id) return
    await this.#api.revoke(this.id, signal)
  }
}
