import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { formatTxid, parseLtxName } from '../ltx/names.js'
import { LtxListing } from './ltx-listing.js'

/**
 * The LTX files of a directory that were last changed before `olderThanMs` (since the epoch), oldest first, without a gap and never the
 * newest file: what retention may remove. Files are written in order, so it looks at few of them. Commits go on meanwhile.
 */
export async function expiredLtxFiles(ltxDir: string, olderThanMs: number): Promise<string[]> {
  const listing = await LtxListing.read(ltxDir)
  const newest = parseLtxName(listing.newest ?? '')
  if (newest === undefined) return []
  // The files before `expired` are, those from `end` on are not.
  let expired = 0n
  let end = newest.minTxid
  while (expired < end) {
    const middle = (expired + end) >> 1n
    const name = listing.from(formatTxid(middle)) ?? ''
    const range = parseLtxName(name)
    const isExpired =
      range !== undefined && range.minTxid < end && (await stat(join(ltxDir, name))).mtimeMs < olderThanMs
    if (isExpired) expired = range.maxTxid + 1n
    else end = middle
  }
  const files: string[] = []
  const bound = formatTxid(expired < newest.minTxid ? expired : newest.minTxid)
  for await (const names of listing.before(bound)) for (const name of names) files.push(join(ltxDir, name))
  return files
}
