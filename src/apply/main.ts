import path from 'node:path'
import { describeError } from '../log.js'
import type { ApplierCommand, ApplierOutcome, ApplierReport, ApplierSettings } from './messages.js'
import { ReplicaDatabase } from './replica-database.js'

/**
 * Entry of the applier process, which applies transactions through the mount: a process of its own, since a thread that waits for its own
 * process' mount could never be ended.
 */

const settings = JSON.parse(process.argv[2] ?? '{}') as ApplierSettings
const NOTHING = { position: undefined, isAside: false, isKept: false }
const ending = new AbortController()
const databases = new Map<string, ReplicaDatabase>()

/** To nobody, once the node has hung up: that is heard of, too. */
function report(message: ApplierReport): void {
  if (process.connected) process.send?.(message, () => {})
}

/** Only what Node makes itself arrives as an error: SQLite's would be an object without a message. */
function sendable(error: unknown): Error {
  return new Error(describeError(error))
}

function databaseOf(name: string): ReplicaDatabase {
  let database = databases.get(name)
  if (database === undefined) {
    const options = { sync: settings.sync, busyTimeoutMs: settings.busyTimeoutMs, signal: ending.signal }
    database = new ReplicaDatabase(path.join(settings.dir, name), options, (error) =>
      report({ type: 'warning', error: sendable(error) }),
    )
    databases.set(name, database)
  }
  return database
}

async function obey(command: ApplierCommand): Promise<void> {
  const database = databaseOf(command.database)
  database.remember(command.seen)
  try {
    const outcome = await doneBy(command, database)
    report({ type: 'done', id: command.id, outcome: { ...NOTHING, ...outcome, seen: database.seen } })
  } catch (error) {
    report({ type: 'failed', id: command.id, error: sendable(error) })
  }
}

async function doneBy(command: ApplierCommand, database: ReplicaDatabase): Promise<Partial<ApplierOutcome>> {
  if (command.type === 'apply') return { position: await database.apply(command.body, command.timeoutMs) }
  if (command.type === 'stepAside') return { isAside: await database.stepAside() }
  if (command.type === 'hold') await database.hold(command)
  else if (command.type === 'letGo') await database.letGo()
  else if (command.type === 'makeNoticed') await database.makeNoticed()
  else if (command.type === 'raiseSchemaCookie') await database.raiseSchemaCookie()
  else {
    const isKept = await database.release()
    if (!isKept) databases.delete(command.database)
    return { isKept }
  }
  return {}
}

/** The node is gone, or asks to end by hanging up: what is being applied is done or never was. */
async function end(): Promise<void> {
  ending.abort(new Error('the node is stopping'))
  for (const database of databases.values()) await database.close()
  process.exit(0)
}

process.on('message', (command: ApplierCommand) => void obey(command))
process.on('disconnect', () => {
  end().catch((error: Error) => {
    process.stderr.write(`applier: ${describeError(error)}\n`)
    process.exit(1)
  })
})
// A signal to the whole process group is for the node, which ends this process when nothing more is to be applied.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
