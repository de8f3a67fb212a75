import fs from 'node:fs'
import path from 'node:path'
import type { Captured } from '../db/committer.js'
import type { Database } from '../db/database.js'
import { FILE_KINDS, type FileKind } from '../db/database-files.js'
import { captureContentOf, captureDrop } from '../db/replacement.js'
import { formatTxid } from '../ltx/names.js'
import { decideIntent, endIntent, MOVING_DIR, type Step, takeSteps, takeStepsBack, writeIntent } from './move-intent.js'

/** A database that becomes another one: with its journal where it moves together with its directory. */
export interface DatabaseMove {
  readonly source: Database
  readonly target: Database
  readonly withSideFiles: boolean
}

/** What is to happen in one step. Paths are absolute, below the data directory; what is at `to` is replaced. */
export interface Relocation {
  readonly moves: readonly DatabaseMove[]
  /** Databases whose place something else takes. */
  readonly dropped: readonly Database[]
  readonly renames: readonly { readonly from: string; readonly to: string }[]
  /** Other files whose place a database takes. */
  readonly removed: readonly string[]
}

/**
 * Renames databases and other files. The target of each move gets the source's content as its next transaction, and the source one that says
 * that it is gone. First it is written down what will be done, then all transactions are made durable, then it is decided, then the files are
 * renamed: whatever happens in between, the next start finds all done or nothing. Throws EBUSY with the reason where a database is in use,
 * or another system error; then nothing has happened.
 */
export function relocate(dataDir: string, relocation: Relocation): void {
  const { moves, dropped } = relocation
  const touched = [...new Set([...moves.flatMap(({ source, target }) => [source, target]), ...dropped])]
  for (const database of touched) checkIdle(database)
  for (const { source } of moves) settle(source)
  // What is in memory has the path of its creation.
  for (const { files } of touched) files.flush('database')
  for (const { source, target, withSideFiles } of moves) {
    for (const { files } of withSideFiles ? [source, target] : []) files.flush('journal')
  }
  const steps = planSteps(dataDir, relocation)
  if (touched.length === 0 && steps.length === 1) {
    takeSteps(dataDir, steps)
    return
  }
  const positions = touched.map(({ name, state }) => ({ name, txid: formatTxid(state.txid) }))
  const captured: { readonly database: Database; readonly transaction: Captured }[] = []
  const note = (database: Database, transaction: Captured | undefined) => {
    if (transaction !== undefined) captured.push({ database, transaction })
  }
  const isCaptured = new Set(moves.filter(({ source }) => source.state.pageCount > 0))
  try {
    writeIntent(dataDir, { positions, steps })
    for (const { source, target } of moves) {
      note(target, captureContentOf(target, source))
      note(source, captureDrop(source))
    }
    for (const database of dropped) note(database, captureDrop(database))
    for (const database of touched) database.files.syncNames()
    decideIntent(dataDir)
    takeSteps(dataDir, steps)
  } catch (error) {
    takeStepsBack(dataDir, steps)
    endIntent(dataDir)
    for (const { database, transaction } of captured.reverse()) database.committer.undo(transaction)
    throw error
  }
  for (const move of moves) handOver(move, isCaptured.has(move))
  for (const database of dropped) database.replaced(undefined, true)
  endIntent(dataDir)
}

/** A side file could be left behind, or stay with the wrong database: SQLite would then destroy one of them. */
function checkIdle(database: Database): void {
  const reason = database.busyWith
  if (reason === undefined) return
  const message = `Cannot rename ${database.name}: ${reason}; close its connections, or set journal_mode=DELETE, and try again`
  throw Object.assign(new Error(message), { code: 'EBUSY' })
}

/** Captures what was written without a journal, and brings the file to the disk. */
function settle(database: Database): void {
  database.ended()
  if (!database.complete && database.state.pageCount > 0) {
    const message = `Cannot rename ${database.name}: its content is not a database`
    throw Object.assign(new Error(message), { code: 'EBUSY' })
  }
  if (database.files.exists('database')) database.files.with('database', (file) => file.sync())
}

function planSteps(dataDir: string, { moves, dropped, renames, removed }: Relocation): Step[] {
  const steps: Step[] = []
  const add = (from: string, to: string) => {
    const ino = fs.lstatSync(from, { throwIfNoEntry: false })?.ino
    if (ino !== undefined) steps.push({ from: path.relative(dataDir, from), to: path.relative(dataDir, to), ino })
  }
  const aside = (file: string) => add(file, path.join(dataDir, MOVING_DIR, String(steps.length)))
  for (const { source, target, withSideFiles } of moves) {
    const kinds: readonly FileKind[] = withSideFiles ? FILE_KINDS : ['database']
    for (const kind of [...kinds, 'attributes'] as const) {
      aside(target.layout[kind])
      add(source.layout[kind], target.layout[kind])
    }
  }
  for (const { layout } of dropped) {
    aside(layout.database)
    aside(layout.attributes)
  }
  for (const file of removed) aside(file)
  for (const { from, to } of renames) {
    // rename(2) replaces by itself where that is all.
    if (moves.length + dropped.length > 0) aside(to)
    add(from, to)
  }
  return steps
}

/** Whoever has the source open goes on as a user of the target. */
function handOver({ source, target, withSideFiles }: DatabaseMove, captured: boolean): void {
  const file = source.files.surrender('database')
  target.replaced(file, captured)
  source.replaced(undefined, true)
  source.freezes.handTo(target.freezes)
  if (withSideFiles) target.files.adopt('journal', source.files.surrender('journal'))
}
