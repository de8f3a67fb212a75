import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'

const DATABASES = 100
const LTX_TIMEOUT_MS = 60_000
const TICK_MS = 10 // USER_HZ is 100 on every Linux port Node runs on

/**
 * What the daemon costs while it has nothing to do: resident memory and CPU time with 100 small databases open.
 * This process opens them, which it may: the daemon is another process.
 *
 * It has nothing to do once every transaction is in an LTX file, which takes as long as the disk needs for some hundred new files.
 *
 * @param {{ mountPath: string, dataPath: string, pid: number }} mount
 * @param {{ seconds: number, settleSeconds: number, signal: AbortSignal }} options how long to watch the idle daemon, and how long before that it
 *   has had nothing to do: V8 gives memory back once that has lasted for some 20 seconds
 */
export async function measureFootprint({ mountPath, dataPath, pid }, { seconds, settleSeconds, signal }) {
  const databases = Array.from({ length: DATABASES }, (_, index) => smallDatabase(mountPath, index))
  try {
    for (let index = 0; index < DATABASES; index++) await newestLtxFile(mountPath, dataPath, nameOf(index), signal)
    await delay(settleSeconds * 1000, undefined, { signal })
    const residentBytes = await residentMemory(pid)
    const before = await cpuTimeMs(pid)
    await delay(seconds * 1000, undefined, { signal })
    const idleCpuPercent = (100 * ((await cpuTimeMs(pid)) - before)) / (seconds * 1000)
    return { databases: DATABASES, residentBytes, idleCpuPercent, idleSeconds: seconds, settleSeconds }
  } finally {
    for (const db of databases) db.close()
  }
}

function nameOf(index) {
  return `small-${index}.db`
}

/** Resolves when the transaction at which a database stands is in an LTX file at its place. */
async function newestLtxFile(mountPath, dataPath, name, signal) {
  const [txid] = (await readFile(path.join(mountPath, `${name}-pos`), 'latin1')).split('/')
  const file = path.join(dataPath, 'dbs', name, 'ltx', `${txid}-${txid}.ltx`)
  const deadline = Date.now() + LTX_TIMEOUT_MS
  while (!existsSync(file)) {
    if (Date.now() > deadline) throw new Error(`Cannot find ${file} after ${LTX_TIMEOUT_MS} ms`)
    await delay(100, undefined, { signal })
  }
}

function smallDatabase(mountPath, index) {
  const db = new Database(path.join(mountPath, nameOf(index)))
  db.pragma('journal_mode = wal')
  db.pragma('synchronous = NORMAL')
  db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, body TEXT)')
  const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
  for (let row = 0; row < 10; row++) insert.run(`row ${row}`)
  return db
}

/** Resident memory of a process in bytes. @param {number} pid */
export async function residentMemory(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024
}

/** User and system time of all threads, from fields 14 and 15 of proc(5)'s stat. The name before them may hold blanks. */
export async function cpuTimeMs(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}
