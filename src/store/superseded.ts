import fs from 'node:fs'
import path from 'node:path'
import type { DatabaseLayout } from '../db/layout.js'
import { syncDirectory } from '../db/ltx-spool.js'
import { formatTxid, parseLtxName } from '../ltx/names.js'

/** Of the data directory: what databases were before a snapshot took their place. */
const SUPERSEDED_DIR = 'superseded'

/** The LTX files of a database that a snapshot of the primary is about to replace, kept: some may be transactions that only this node had. */
export interface Superseded {
  readonly dir: string
  readonly files: readonly string[]
}

/**
 * Gives the LTX files of a database a second name each. All must be on disk. Undefined where there are none. Throws a system error.
 */
export function keepSuperseded(dataDir: string, name: string, { ltxDir }: DatabaseLayout): Superseded | undefined {
  const files = fs.readdirSync(ltxDir).filter((file) => parseLtxName(file) !== undefined)
  if (files.length === 0) return undefined
  const last = files
    .map((file) => parseLtxName(file)?.maxTxid ?? 0n)
    .reduce((max, txid) => (txid > max ? txid : max), 0n)
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, '')
  const dir = path.join(dataDir, SUPERSEDED_DIR, `${encodeURIComponent(name)}-${formatTxid(last)}-${stamp}`)
  fs.mkdirSync(dir, { recursive: true })
  for (const file of files) fs.linkSync(path.join(ltxDir, file), path.join(dir, file))
  for (const changed of [dir, path.dirname(dir), dataDir]) syncDirectory(changed)
  return { dir, files }
}

/** The snapshot, the file `snapshot`, is there: the files that it has overtaken lose their old names. Throws a system error. */
export function dropSuperseded({ files }: Superseded, { ltxDir }: DatabaseLayout, snapshot: string): void {
  for (const file of files) if (file !== snapshot) fs.rmSync(path.join(ltxDir, file), { force: true })
  syncDirectory(ltxDir)
}

/** The snapshot did not come to be, and they are what they were. Throws a system error. */
export function forgetSuperseded({ dir }: Superseded): void {
  fs.rmSync(dir, { recursive: true })
}
