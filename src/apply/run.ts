import assert from 'node:assert/strict'
import { decodeHeader, type LtxHeader } from '../ltx/header.js'
import type { VerifiedLtx } from './gate.js'

/** What is applied together at most: its readers wait for all of it, and the mount holds all of it. */
const MAX_RUN_BYTES = 1 << 20
const MAX_RUN_FILES = 256

/** How many of the first in a queue can be applied as one: small files in memory, each following the one before it. */
export function runLength(queue: readonly VerifiedLtx[]): number {
  let bytes = 0
  let last: LtxHeader | undefined
  for (const [i, ltx] of queue.entries()) {
    if (!('bytes' in ltx.body) || i === MAX_RUN_FILES) return Math.max(1, i)
    const header = decodeHeader(ltx.body.bytes)
    bytes += ltx.body.bytes.length
    if (i > 0 && bytes > MAX_RUN_BYTES) return i
    const isPart = header.commit > 0 && header.minTxid > 1n
    const follows = last === undefined || (header.minTxid === last.maxTxid + 1n && header.pageSize === last.pageSize)
    if (!isPart || !follows) return Math.max(1, i)
    last = header
  }
  return queue.length
}

/** Those of a run as one. */
export function joined(run: readonly VerifiedLtx[]): VerifiedLtx {
  const [first] = run
  const last = run.at(-1)
  assert(first !== undefined && last !== undefined)
  if (first === last) return first
  const { minTxid, preApply } = first
  const { maxTxid, postApply } = last
  const files = run.flatMap(({ body }) => ('bytes' in body ? [body.bytes] : []))
  return { minTxid, maxTxid, preApply, postApply, body: { run: files } }
}
