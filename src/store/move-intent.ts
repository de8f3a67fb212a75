import fs from 'node:fs'
import path from 'node:path'
import { databaseLayout } from '../db/layout.js'
import { listLtxDirectory } from '../db/ltx-directory.js'
import { syncDirectory } from '../db/ltx-spool.js'
import type { Log } from '../log.js'

/** One rename(2) below the data directory, to a name that is free. */
export interface Step {
  /** Relative to the data directory. */
  readonly from: string
  readonly to: string
  /** Inode number of what is moved, so that nothing else is. */
  readonly ino: number
}

/** What a move is about to do, written down so that a start after a crash undoes it or completes it. JSON on disk. */
export interface Intent {
  /** Databases that get a transaction, and their TXIDs (16 hex digits) before. */
  readonly positions: readonly { readonly name: string; readonly txid: string }[]
  readonly steps: readonly Step[]
}

/** The directory of a move in `data.dir`: the intent, and what was replaced until it is over. */
export const MOVING_DIR = 'moving'
/** The intent until every transaction is durable, then the same under the other name: that rename is what decides. */
const PREPARING = 'preparing'
const DECIDED = 'decided'

/** From here on a crash leaves the old state, whatever transactions are stored. Durable when it returns. */
export function writeIntent(dataDir: string, intent: Intent): void {
  const dir = path.join(dataDir, MOVING_DIR)
  fs.mkdirSync(dir)
  fs.writeFileSync(path.join(dir, PREPARING), `${JSON.stringify(intent)}\n`, { flush: true })
  syncDirectory(dir)
  syncDirectory(dataDir)
}

/** From here on a crash leaves the new state. Durable when it returns. */
export function decideIntent(dataDir: string): void {
  const dir = path.join(dataDir, MOVING_DIR)
  fs.renameSync(path.join(dir, PREPARING), path.join(dir, DECIDED))
  syncDirectory(dir)
}

/** Does the renames of an intent that are not done yet, and brings them to the disk. */
export function takeSteps(dataDir: string, steps: readonly Step[]): void {
  for (const { from, to, ino } of steps) {
    if (inodeOf(path.join(dataDir, from)) !== ino) continue
    fs.mkdirSync(path.dirname(path.join(dataDir, to)), { recursive: true })
    fs.renameSync(path.join(dataDir, from), path.join(dataDir, to))
  }
  syncParents(dataDir, steps)
}

/** Takes back the renames of an intent that were done, last first. */
export function takeStepsBack(dataDir: string, steps: readonly Step[]): void {
  const back = [...steps].reverse().map(({ from, to, ino }) => ({ from: to, to: from, ino }))
  takeSteps(dataDir, back)
}

/** Forgets the intent, and removes what was replaced. */
export function endIntent(dataDir: string): void {
  const dir = path.join(dataDir, MOVING_DIR)
  // The intent goes first: without it nothing can be done again.
  fs.rmSync(path.join(dir, DECIDED), { force: true })
  fs.rmSync(path.join(dir, PREPARING), { force: true })
  fs.rmSync(dir, { recursive: true, force: true })
}

/**
 * Undoes or completes the move that a crash interrupted, before anything is recovered; the log must have been replayed. Idempotent. The
 * intent stays for `endIntent`, until the log cannot bring back what was undone. Throws a system error.
 */
export function recoverMove(dataDir: string, log: Log): void {
  const decided = readIntent(path.join(dataDir, MOVING_DIR, DECIDED))
  if (decided !== undefined) {
    log.info('completes a rename that was interrupted')
    takeSteps(dataDir, decided.steps)
    return
  }
  const preparing = readIntent(path.join(dataDir, MOVING_DIR, PREPARING))
  if (preparing === undefined) return
  log.info('undoes a rename that was interrupted')
  for (const { name, txid } of preparing.positions) removeLtxAfter(databaseLayout(dataDir, name).ltxDir, txid)
}

/** One that is not whole was never durable, and nothing was done yet. */
function readIntent(file: string): Intent | undefined {
  if (!fs.existsSync(file)) return undefined
  const text = fs.readFileSync(file, 'utf8')
  return text.endsWith('}\n') ? (JSON.parse(text) as Intent) : undefined
}

function removeLtxAfter(ltxDir: string, txid: string): void {
  if (!fs.existsSync(ltxDir)) return
  const last = BigInt(`0x${txid}`)
  for (const entry of listLtxDirectory(ltxDir)) if (entry.minTxid > last) fs.rmSync(entry.path)
  syncDirectory(ltxDir)
}

function syncParents(dataDir: string, steps: readonly Step[]): void {
  const parents = steps.flatMap(({ from, to }) => [path.dirname(from), path.dirname(to)])
  for (const parent of new Set(parents)) {
    const dir = path.join(dataDir, parent)
    if (fs.existsSync(dir)) syncDirectory(dir)
  }
}

function inodeOf(file: string): number | undefined {
  return fs.lstatSync(file, { throwIfNoEntry: false })?.ino
}
