import { z } from 'zod'
import type { NodeInfo, PrimaryInfo } from './leaser.js'

/** LiteFS writes `hostname` and `advertise-url`, and reads past what else is there. */
const ENTRY = z.object({
  hostname: z.string(),
  'advertise-url': z.string(),
  'node-id': z.string().optional(),
  'proxy-url': z.string().optional(),
  epoch: z
    .string()
    .regex(/^\d{1,19}$/)
    .optional(),
})

/** Where a cluster's entries are in the store, from the lease's key. LiteFS knows the first two. */
export interface Keys {
  readonly lease: string
  readonly clusterId: string
  /** The last epoch, in decimal. */
  readonly epoch: string
  /** In front of the node ids of the candidates. */
  readonly candidates: string
}

export function keysOf(lease: string): Keys {
  return {
    lease,
    clusterId: `${lease}/clusterid`,
    epoch: `${lease}/epoch`,
    candidates: `${lease}/candidates/`,
  }
}

/** The value of the lease's key, or of a candidate's, which has no epoch. */
export function encodeEntry({ hostname, advertiseUrl, nodeId, proxyUrl }: NodeInfo, epoch?: bigint): string {
  return JSON.stringify({
    hostname,
    'advertise-url': advertiseUrl,
    ...(nodeId !== undefined && { 'node-id': nodeId }),
    ...(proxyUrl !== undefined && { 'proxy-url': proxyUrl }),
    ...(epoch !== undefined && { epoch: String(epoch) }),
  })
}

/** Throws when it is no such value. `where` is for the error: `Consul at URL`. */
export function decodeEntry(text: string, key: string, where: string): PrimaryInfo {
  let reason: unknown
  try {
    const parsed = ENTRY.safeParse(JSON.parse(text))
    if (parsed.success) {
      const { hostname, 'advertise-url': advertiseUrl, 'node-id': nodeId, 'proxy-url': proxyUrl, epoch } = parsed.data
      const info = { hostname, advertiseUrl, nodeId, ...(proxyUrl !== undefined && { proxyUrl }) }
      return { ...info, epoch: epoch === undefined ? undefined : BigInt(epoch) }
    }
    reason = parsed.error
  } catch (error) {
    reason = error
  }
  throw badValue(text, key, where, 'no entry of a LiteFS node', reason)
}

/** The last epoch; 0 before there was one. Throws when the value is none. */
export function decodeEpoch(text: string | undefined, key: string, where: string): bigint {
  if (text === undefined || text === '') return 0n
  if (/^\d{1,19}$/.test(text)) return BigInt(text)
  throw badValue(text, key, where, 'no number', undefined)
}

/**
 * When a lease is the only one. A store whose last epoch is below one that a node has heard of has lost its data, and may have granted this one
 * while the holder of an earlier one does not know yet; that runs out at `runsOutMs` at the latest.
 */
export function soleFrom(last: bigint, heardOf: bigint, runsOutMs: number): number {
  return last < heardOf ? runsOutMs : 0
}

/** Whether these are the same tenure of the same node. */
export function isSamePrimary(a: PrimaryInfo | undefined, b: PrimaryInfo | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.epoch === b.epoch && a.nodeId === b.nodeId && a.hostname === b.hostname && a.advertiseUrl === b.advertiseUrl
}

function badValue(text: string, key: string, where: string, what: string, cause: unknown): Error {
  const remedy = 'if no other program uses that key, remove it; else give this cluster another one'
  return new Error(`Cannot read key ${key} of ${where}: ${JSON.stringify(text.slice(0, 80))} is ${what} (${remedy})`, {
    cause,
  })
}
