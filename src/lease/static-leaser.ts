import { setTimeout } from 'node:timers/promises'
import { monotonicMs } from '../monotonic.js'
import type { Announcement, Lease, Leaser, NodeInfo, PrimaryInfo } from './leaser.js'

/** Of the one lease there is: it never changes hands. */
const EPOCH = 1n

/** The lease of `lease.type: static`: the candidate has it for ever, and the others know who that is from their configuration. */
export class StaticLeaser implements Leaser {
  readonly name = 'static'
  readonly ttlMs = Number.POSITIVE_INFINITY
  readonly #primary: PrimaryInfo | undefined

  /** @param primary whom this node follows; undefined on the primary itself */
  constructor(primary: Pick<NodeInfo, 'hostname' | 'advertiseUrl' | 'proxyUrl'> | undefined) {
    this.#primary = primary && { ...primary, nodeId: undefined, epoch: undefined }
  }

  async acquire(): Promise<Lease | undefined> {
    return this.#primary === undefined ? new StaticLease() : undefined
  }

  /** Rejects: there is nothing to hand over. */
  async takeOver(): Promise<Lease | undefined> {
    throw new Error('Cannot take over the lease: with lease.type "static" it stays where litefs.yml says')
  }

  async primary(): Promise<PrimaryInfo | undefined> {
    return this.#primary
  }

  async changed(_seen: PrimaryInfo | undefined, waitMs: number, signal: AbortSignal): Promise<PrimaryInfo | undefined> {
    await setTimeout(waitMs, undefined, { signal })
    return this.#primary
  }

  /** The nodes themselves know it, and the stream tells. */
  async clusterId(): Promise<string | undefined> {
    return undefined
  }

  async swapClusterId(): Promise<boolean> {
    throw new Error('Cannot set the cluster id in the lease store: with lease.type "static" there is none')
  }

  async announce(): Promise<Announcement> {
    return { ttlMs: Number.POSITIVE_INFINITY, renew: async () => true, withdraw: async () => {} }
  }

  async candidates(): Promise<readonly NodeInfo[]> {
    return []
  }

  async close(): Promise<void> {}
}

class StaticLease implements Lease {
  readonly id = 'static'
  readonly epoch = EPOCH
  readonly ttlMs = Number.POSITIVE_INFINITY
  readonly renewedAtMs = monotonicMs()
  readonly soleFromMs = 0

  async renew(): Promise<boolean> {
    return true
  }

  async release(): Promise<void> {}
}
