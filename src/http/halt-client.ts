import { Readable } from 'node:stream'
import { decodeHaltLock, type HaltLock } from '../replication/halt-lock.js'
import type { PeerAccess } from './peer-access.js'
import { EPOCH_HEADER, LTX_VERSION_HEADER } from './stream-headers.js'

/** The primary, and who asks it. */
export interface HaltTarget {
  readonly url: string
  readonly access: PeerAccess
  /** Of this node, 16 upper-case hex digits. */
  readonly nodeId: string
  readonly clusterId: string | undefined
  /** The highest epoch that this node has heard of. */
  readonly epoch: bigint
}

/** A lock, as the primary answered. */
export interface TakenLock extends HaltLock {
  /** The primary is one of ours: it renews locks, and reads LTX version 3. LiteFS' does neither. */
  readonly isOurs: boolean
}

/** The primary's word that it will not. */
export class RefusedError extends Error {
  override name = 'RefusedError'
  readonly statusCode: number

  constructor(statusCode: number, message: string) {
    super(message)
    this.statusCode = statusCode
  }
}

/** Bytes of a reason that are shown. */
const MAX_REASON = 300

/** Has the primary halt a database, or with `renew` go on doing so. Rejects with RefusedError, or when it does not answer. */
export async function takeHalt(
  target: HaltTarget,
  { name, id, renew }: { readonly name: string; readonly id: number; readonly renew: boolean },
  signal: AbortSignal,
): Promise<TakenLock> {
  const query = `name=${encodeURIComponent(name)}&id=${id}${renew ? '&renew=true' : ''}`
  const { headers, text } = await ask(target, 'POST', `/halt?${query}`, signal)
  return { ...decodeHaltLock(text), isOurs: headers[LTX_VERSION_HEADER] === '3' }
}

/** Has the primary let a database go. Rejects with RefusedError, or when it does not answer. */
export async function releaseHalt(target: HaltTarget, name: string, id: number, signal: AbortSignal): Promise<void> {
  await ask(target, 'DELETE', `/halt?name=${encodeURIComponent(name)}&id=${id}`, signal)
}

/** Has the primary commit a transaction. Rejects with RefusedError; when it does not answer, nobody knows whether it has. */
export async function commitThere(
  target: HaltTarget,
  { name, id, ltx }: { readonly name: string; readonly id: number; readonly ltx: AsyncIterable<Uint8Array> },
  signal: AbortSignal,
): Promise<void> {
  await ask(target, 'POST', `/tx?name=${encodeURIComponent(name)}&lockID=${id}`, signal, Readable.from(ltx))
}

async function ask(
  { url, access, nodeId, clusterId, epoch }: HaltTarget,
  method: 'POST' | 'DELETE',
  where: string,
  signal: AbortSignal,
  body?: Readable,
) {
  const own: Record<string, string> = { 'litefs-id': nodeId, [EPOCH_HEADER]: String(epoch) }
  if (clusterId !== undefined) own['litefs-cluster-id'] = clusterId
  const options = { method, headers: own, headersTimeout: 0, bodyTimeout: 0, signal, ...(body && { body }) }
  const { statusCode, headers, body: answer } = await access.request(new URL(where, url), options)
  const text = await answer.text()
  if (statusCode !== 200)
    throw new RefusedError(statusCode, `it answered ${statusCode}: ${text.trim().slice(0, MAX_REASON)}`)
  return { headers, text }
}
