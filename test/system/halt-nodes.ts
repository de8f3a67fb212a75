// A primary and a replica between which the network can fail, and programs that take halt locks as litefs-go does.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { type FaultyProxy, startFaultyProxy } from '../servers/faulty-proxy.js'
import { freePort } from '../servers/ports.js'
import { litefsScript, type Mount, type MountOptions, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { inSync, type Pair, startReplica } from './replicas.js'

/** fcntl(2)'s F_OFD_SETLKW on byte 72 of the lock file, with litefs-go's struct: blocks until it has it, and holds it until its input ends. */
const lockerScript = `
import fcntl, os, struct, sys
fd = os.open(sys.argv[1] + '-lock', os.O_RDWR)
def lock(kind): fcntl.fcntl(fd, 38, struct.pack('hhxxxxqqixxxx', kind, os.SEEK_SET, 72, 1, 0))
try:
  lock(fcntl.F_WRLCK)
except OSError as error:
  print('failed', os.strerror(error.errno), flush=True)
  sys.exit(1)
print('locked', flush=True)
sys.stdin.read()
lock(fcntl.F_UNLCK)
print('unlocked', flush=True)
`

export interface Locker {
  readonly pid: number | undefined
  /** What it says once it has the lock, or not. */
  readonly answer: string
  /** Unlocks, which takes until the primary's writers can go on, and ends. */
  unlock(): Promise<void>
  kill(): Promise<void>
}

/** Starts a program that takes the halt lock of a database, and waits for what comes of it. */
export async function startLocker(t: Test, file: string): Promise<Locker> {
  const { answer, ...locker } = spawnLocker(t, file)
  return { ...locker, answer: await answer }
}

/** The same, without waiting. */
export function spawnLocker(t: Test, file: string) {
  const child = spawn('python3', ['-c', lockerScript, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  const kill = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await closed
  }
  t.teardown(kill)
  const lines = createInterface(child.stdout)
  return {
    pid: child.pid,
    answer: Promise.race([once(lines, 'line'), closed]).then(([answer]) => String(answer)),
    kill,
    unlock: async () => {
      child.stdin.end()
      await closed
    },
  }
}

export interface HaltNodes extends Pair {
  /** The name of the database, and its files on both nodes. */
  readonly name: string
  readonly there: string
  readonly here: string
  /** Between the replica and the primary. */
  readonly proxy: FaultyProxy
  /** Starts the primary again, at the same address. */
  restartPrimary(): Promise<Mount>
  restartReplica(): Promise<Mount>
}

/** A database with the table t(a), one row, on both nodes. */
export async function startHaltNodes(t: Test, mode: string, ttlMs = 30_000): Promise<HaltNodes> {
  const env = { ...process.env, LITEFS_HALT_TTL_MS: String(ttlMs) }
  const port = await freePort()
  const first: MountOptions = { env, configExtra: { http: { addr: `127.0.0.1:${port}` } } }
  const primary = await startMount(t, first)
  const proxy = await startFaultyProxy(t, port)
  const url = `http://127.0.0.1:${proxy.port}`
  const replica = await startReplica(t, url, { env })
  const name = 'db'
  const [there, here] = [path.join(primary.dir, name), path.join(replica.dir, name)]
  await sqlite(there, `PRAGMA journal_mode=${mode}; CREATE TABLE t(a); INSERT INTO t VALUES('first')`)
  await inSync(t, { primary, replica }, name)
  const again = ({ dir, dataDir }: Mount) => ({ mountDir: dir, dataDir })
  return {
    primary,
    replica,
    name,
    there,
    here,
    proxy,
    restartPrimary: () => startMount(t, { ...first, ...again(primary) }),
    restartReplica: () => startReplica(t, url, { env, ...again(replica) }),
  }
}

/** Ends with the code of the command. */
export function runHalted(file: string, command: readonly string[], input = '') {
  return run(process.execPath, [litefsScript, 'run', '-with-halt-lock-on', file, '--', ...command], { input })
}

/** SQL in the sqlite3 shell under the halt lock of the database. */
export function sqliteHalted(file: string, sql: string) {
  return runHalted(file, ['sqlite3', '-bail', '-batch', '-cmd', '.timeout 10000', file], `${sql}\n`)
}
