import { z } from 'zod'
import type { Position } from '../ltx/names.js'
import type { PeerAccess } from './peer-access.js'

/** What a node says of how far it is. */
export interface PeerStanding {
  readonly clusterId: string | undefined
  readonly isCandidate: boolean
  /** Whether it ever had all of its cluster's data. */
  readonly isSynced: boolean
  /** The highest that it has heard of. */
  readonly epoch: bigint
  readonly positions: ReadonlyMap<string, Position>
}

const HEX = z.string().regex(/^[0-9a-fA-F]{16}$/)
const STANDING = z.object({
  clusterID: z.string().optional(),
  candidate: z.boolean(),
  synced: z.boolean(),
  epoch: z.string().regex(/^\d{1,19}$/),
  databases: z.array(z.object({ name: z.string(), txid: HEX, checksum: HEX })),
})
/** Bytes of an answer that is quoted. */
const MAX_REASON = 300

/** Asks a node for its positions. Rejects when it does not say within `timeoutMs` milliseconds. LiteFS' nodes never do. */
export async function standingOf(access: PeerAccess, url: string, timeoutMs: number): Promise<PeerStanding> {
  const { statusCode, body } = await access.request(new URL('/positions', url), {
    method: 'GET',
    signal: AbortSignal.timeout(timeoutMs),
  })
  const text = await body.text()
  if (statusCode !== 200) throw new Error(`Cannot ask ${url} for its positions: it answered ${statusCode}`)
  const { clusterID, candidate, synced, epoch, databases } = STANDING.parse(JSON.parse(text))
  const entries = databases.map(({ name, txid, checksum }): [string, Position] => [
    name,
    { txid: BigInt(`0x${txid}`), checksum: BigInt(`0x${checksum}`) },
  ])
  return {
    clusterId: clusterID,
    isCandidate: candidate,
    isSynced: synced,
    epoch: BigInt(epoch),
    positions: new Map(entries),
  }
}

/** Has a node do something. Rejects with its reason when it does not within `timeoutMs` milliseconds. */
export async function call(access: PeerAccess, url: string, path: string, timeoutMs: number): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs)
  const { statusCode, body } = await access.request(new URL(path, url), { method: 'POST', signal })
  const text = (await body.text()).trim()
  if (statusCode !== 200)
    throw new Error(`Cannot call ${path} of ${url}: it answered ${statusCode}: ${text.slice(0, MAX_REASON)}`)
}
