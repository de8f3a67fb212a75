// A writer that never pauses, and how long each of its commits takes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { run } from './harness.js'

export const ACCOUNTS = 1000
/** Moves money between accounts for ever and prints the milliseconds of each commit; `argv`: file, journal mode. */
const writerScript = `
  const Database = require('better-sqlite3')
  const db = new Database(process.argv[1], { timeout: 20000 })
  db.pragma('journal_mode = ' + process.argv[2])
  db.pragma('synchronous = normal')
  db.pragma('wal_autocheckpoint = 200')
  const move = db.prepare('update account set balance = balance + ?, pad = randomblob(2000) where id = ?')
  const any = () => 1 + Math.floor(Math.random() * ${ACCOUNTS})
  const step = db.transaction(() => { const n = any(); for (let i = 0; i < 5; i++) { move.run(n, any()); move.run(-n, any()) } })
  const loop = () => { const start = performance.now(); step.immediate(); console.log(performance.now() - start); setImmediate(loop) }
  loop()
`

/** Makes the database that the writer needs: 1000 accounts with 100 each, 3 MB. */
export async function seeded(file: string, journalMode: string): Promise<void> {
  const sql = `pragma journal_mode = ${journalMode}; create table account(id integer primary key, balance, pad);
    with recursive n(i) as (values (1) union all select i + 1 from n where i < ${ACCOUNTS})
    insert into account select i, 100, randomblob(2000) from n;`
  const { code, stderr } = await run('sqlite3', [file], { input: sql })
  if (code !== 0) throw new Error(stderr)
}

/** A writer; `commits` has the duration of each so far, milliseconds. */
export function startWriter(t: Test, file: string, journalMode: string) {
  const child = spawn(process.execPath, ['-e', writerScript, file, journalMode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const commits: number[] = []
  createInterface({ input: child.stdout }).on('line', (line) => commits.push(Number(line)))
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.teardown(stop)
  return { commits, stop }
}
