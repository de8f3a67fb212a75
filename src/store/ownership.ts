import fs from 'node:fs'
import type { DatabaseLayout } from '../db/layout.js'
import type { Ownership } from './local-files.js'

/** Only the daemon's user may use a database whose attributes a power cut left unreadable. */
const UNREADABLE_MODE = 0o600
const TEXT = /^([0-7]{1,4}) (\d+) (\d+)\n$/

/**
 * Mode and owner of a database, which its journal and WAL share. Not those of its file in the data directory: the daemon must be able to
 * write that whatever its users chose. `otherwise` where nobody chose any, as in every database of LiteFS.
 */
export function readOwnership(layout: DatabaseLayout, otherwise: Ownership): Ownership {
  if (!fs.existsSync(layout.attributes)) return otherwise
  const [, mode, uid, gid] = TEXT.exec(fs.readFileSync(layout.attributes, 'latin1')) ?? []
  if (mode === undefined) return { ...otherwise, mode: UNREADABLE_MODE }
  return { mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid) }
}

/** Keeps them across restarts. Throws a system error. */
export function writeOwnership(layout: DatabaseLayout, { mode, uid, gid }: Ownership): void {
  const temporary = `${layout.attributes}.tmp`
  fs.writeFileSync(temporary, `${mode.toString(8)} ${uid} ${gid}\n`)
  fs.renameSync(temporary, layout.attributes)
}
