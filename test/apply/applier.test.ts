// The applier process: killed at any moment, it is started again, and nobody sees half of anything.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { Applier } from '../../src/apply/applier.js'
import type { Gate, VerifiedLtx } from '../../src/apply/gate.js'
import { Primary } from './primary.js'
import { connect, startReader } from './readers.js'

const script = fileURLToPath(new URL('../../dist/apply/main.js', import.meta.url))

/** Lets everything pass, and knows the process. */
class OpenGate implements Gate {
  pid = 0
  concluded = { applied: 0, not: 0 }

  async announce(_name: string, _ltx: VerifiedLtx, pid: number): Promise<boolean> {
    this.pid = pid
    return true
  }

  async fill(): Promise<boolean> {
    return false
  }

  async conclude(_name: string, _ltx: VerifiedLtx, applied: boolean): Promise<void> {
    this.concluded[applied ? 'applied' : 'not']++
  }
}

function startApplier(t: Test, gate: Gate) {
  const dir = mkdtempSync(path.join(tmpdir(), 'litefs-applier-'))
  const warnings: string[] = []
  const warn = (message: string) => warnings.push(message)
  const silent = () => {}
  const log = { debug: silent, info: silent, warn, error: warn }
  const applier = new Applier({ dir, script, gate, log, sync: false, busyTimeoutMs: 20_000 })
  t.teardown(async () => {
    await applier.close()
    rmSync(dir, { recursive: true })
  })
  return { applier, dir, warnings }
}

function verified(primary: Primary, bytes: Buffer): VerifiedLtx {
  const preApply = bytes.readBigUInt64BE(40)
  return { minTxid: primary.txid, maxTxid: primary.txid, preApply, postApply: primary.checksum, body: { bytes } }
}

/** False for one that was killed while it had nothing to do: nobody has noticed yet. */
function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}

/** Numbers below `below`, the same in every run. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

for (const mode of ['WAL', 'DELETE'] as const) {
  t.test(`killed at any moment, ${mode}`, async (t) => {
    const gate = new OpenGate()
    const { applier, dir, warnings } = startApplier(t, gate)
    const primary = new Primary(path.join(dir, 'primary'), ['synchronous = OFF', `journal_mode = ${mode}`])
    const file = path.join(dir, 'db')
    await applier.apply('db', verified(primary, primary.createAccounts()))
    const reader = await startReader(t, file, 0)
    const random = randomNumbers(mode.length)
    let kills = 0
    for (let round = 0; round < 10; round++) {
      const work = Array.from({ length: 20 }, () => applier.apply('db', verified(primary, primary.move())))
      const all = Promise.all(work)
      let done = false
      void all.then(() => {
        done = true
      })
      // Before anything is applied, after the first, and at any moment after it: the others may be applied together.
      const when = round % 3
      if (when > 0) await work[0]
      if (when > 1) await new Promise((resolve) => setTimeout(resolve, random(10)))
      if (!done && gate.pid > 0 && kill(gate.pid)) kills++
      t.equal((await all).at(-1)?.txid, primary.txid)
    }
    t.comment(`${kills} kills, ${warnings.length} restarts, ${gate.concluded.not} interrupted`)
    t.ok(warnings.length > 0, 'it was killed')
    const seen = await reader.end()
    t.strictSame(seen.problems, [])
    t.equal(seen.last, 200)
    await applier.close()
    const db = new Database(file)
    t.equal(db.pragma('integrity_check', { simple: true }), 'ok')
    t.ok(db.serialize().equals(primary.db.serialize()), 'the same content')
    db.exec('UPDATE account SET balance = 1')
    db.close()
    primary.db.close()
  })
}

t.test('it lets go of a database when asked to, and ends with its parent', async (t) => {
  const gate = new OpenGate()
  const { applier, dir } = startApplier(t, gate)
  const primary = new Primary(path.join(dir, 'primary'), ['journal_mode = WAL'])
  await applier.apply('db', verified(primary, primary.createAccounts()))
  // The first one made the database; from the second on it has a log.
  await applier.apply('db', verified(primary, primary.move()))
  const other = connect(t, path.join(dir, 'db'))
  await t.rejects(other.rows('PRAGMA journal_mode = DELETE'), /SQLITE_BUSY/, 'the applier has it open')
  await applier.release('db')
  t.strictSame(await other.rows('PRAGMA journal_mode = DELETE'), [{ journal_mode: 'delete' }])
  await other.close()
  await applier.close()
  const next = primary.move()
  await t.rejects(
    applier.apply('db', verified(primary, next)),
    /Cannot apply a transaction to db: the node is stopping/,
  )
  t.throws(() => process.kill(gate.pid, 0), /ESRCH/)
  primary.db.close()

  const parent = spawn(process.execPath, [
    '-e',
    `const child = require('node:child_process').fork(${JSON.stringify(script)}, [${JSON.stringify(JSON.stringify({ dir, sync: false, busyTimeoutMs: 1 }))}], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
     child.once('spawn', () => setTimeout(() => { console.log(child.pid) }, 300))`,
  ])
  const [pid] = await once(parent.stdout, 'data')
  const exited = once(parent, 'exit')
  parent.kill('SIGKILL')
  await exited
  const gone = async () => {
    for (let i = 0; i < 500; i++) {
      try {
        process.kill(Number(pid), 0)
      } catch {
        return true
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return false
  }
  t.equal(await gone(), true)
})
