// The main job on real input: a real application under `litefs mount`, a replica that follows it, its databases rebuilt from LTX files
// alone, and all of them compared. On a terminal it stays up until Ctrl-C for you to play with; otherwise, and with --once, it ends by
// itself. Ends with code 1 if anything differs.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, open, readdir, readFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { litefsScript, removeDirectory, startMount, startReplica } from '../bench/mount.js'
import { readInput } from './demo/input.js'
import { run } from './demo/run.js'
import { useShell } from './demo/shell.js'

const TIMEOUT_MS = 60_000
const POSITION_TIMEOUT_MS = 5_000
const REPLICA_TIMEOUT_MS = 20_000
const LOOK_MS = 10
const TRAILER_SIZE = 16 // LTX: post-apply checksum and file checksum, 8 bytes each
const serverScript = fileURLToPath(new URL('notes/server.js', import.meta.url))
const inspectScript = fileURLToPath(new URL('demo/inspect.js', import.meta.url))

async function request(url, signal, options = {}) {
  const response = await fetch(url, { ...options, signal })
  const text = await response.text()
  if (!response.ok) throw new Error(`Cannot ${options.method ?? 'GET'} ${url}: status ${response.status}: ${text}`)
  return text === '' ? undefined : JSON.parse(text)
}

function post(url, value, signal) {
  return request(url, signal, { method: 'POST', body: JSON.stringify(value) })
}

/** Gives the application its real input; returns how many transactions that took. */
async function useApplication(url, signal) {
  const { documents, sources } = await readInput()
  const lines = documents.flat()
  for (const line of lines) await post(`${url}/api/notes`, line, signal)
  const files = sources.filter((notes) => notes.length > 0)
  for (const notes of files) await post(`${url}/api/notes`, notes, signal)
  const { notes: found, count } = await request(`${url}/api/notes?q=copyright+license`, signal)
  assert.equal(count, lines.length + files.flat().length, 'the application has every note it was sent')
  assert.ok(found.length > 0, 'the search finds lines of the license')
  for (const { id } of found) await request(`${url}/api/notes/${id}`, signal, { method: 'DELETE' })

  console.log(`  ${lines.length} lines of documents, one HTTP request and one transaction each`)
  console.log(`  ${files.flat().length} lines of source in ${files.length} requests, one transaction per file`)
  console.log(`  ${found.length} notes found by a search and deleted one by one`)
  return lines.length + files.length + found.length
}

async function readPosition(mountPath, name) {
  const [txid, checksum] = (await readFile(path.join(mountPath, `${name}-pos`), 'utf8')).trim().split('/')
  return { txid: Number(`0x${txid}`), checksum, text: `${txid}/${checksum}` }
}

/** A transaction enters the position once it is final, a moment after the application's commit. */
async function waitForTxid(mountPath, name, txid, signal) {
  const deadline = Date.now() + POSITION_TIMEOUT_MS
  for (;;) {
    const position = await readPosition(mountPath, name)
    if (position.txid >= txid || Date.now() > deadline) {
      assert.equal(position.txid, txid, `${name} has one TXID per transaction`)
      return
    }
    await delay(20, undefined, { signal })
  }
}

async function inspect(databasePath, signal) {
  const seen = JSON.parse(await run(process.execPath, [inspectScript, databasePath], { signal }))
  assert.equal(seen.integrity, 'ok', `integrity_check of ${databasePath}`)
  return seen
}

/** The post-apply checksum of an LTX file: what the database's checksum is after it. */
async function postApplyChecksum(ltxPath) {
  const file = await open(ltxPath)
  try {
    const { size } = await file.stat()
    const { buffer } = await file.read({ buffer: Buffer.alloc(8), position: size - TRAILER_SIZE })
    return buffer.toString('hex')
  } finally {
    await file.close()
  }
}

/** Rebuilds one database from its LTX files and compares it with what was seen through the mount. */
async function rebuild({ name, position, seen }, dataPath, directory, signal) {
  const ltxPath = path.join(dataPath, 'dbs', name, 'ltx')
  const rebuiltPath = path.join(directory, `rebuilt-${name}`)
  const files = (await readdir(ltxPath)).filter((file) => file.endsWith('.ltx')).sort()
  await run(process.execPath, [litefsScript, 'ltx', 'verify', ltxPath], { signal })
  await run(process.execPath, [litefsScript, 'ltx', 'apply', '-o', rebuiltPath, ltxPath], { signal })
  const rebuilt = await inspect(rebuiltPath, signal)
  const checksum = await postApplyChecksum(path.join(ltxPath, files.at(-1)))
  assert.deepEqual(rebuilt, seen, `${name} rebuilt from LTX files equals ${name} through the mount`)
  assert.equal(checksum, position.checksum, `checksum of the newest LTX file of ${name} equals ${name}-pos`)
  assert.equal(
    Number(`0x${files.at(-1).slice(17, 33)}`),
    position.txid,
    `newest LTX file of ${name} equals ${name}-pos`,
  )

  console.log(`\n${name}`)
  console.log(`  written through the mount   ${seen.rows} rows in ${seen.tables} tables, sha256 ${seen.contentHash}`)
  console.log(`  LTX files they became       ${files.length}, up to TXID ${position.txid}; verified`)
  console.log(`  position (TXID/checksum)    ${position.text}`)
  console.log(
    `  rebuilt from LTX alone      ${rebuilt.rows} rows in ${rebuilt.tables} tables, sha256 ${rebuilt.contentHash}`,
  )
  console.log('  integrity_check             ok, ok')
}

/** @returns {Promise<string[]>} the databases that were made */
async function useMount(mount, url, signal) {
  const before = await readPosition(mount.mountPath, 'notes.db')
  console.log(`The notes application runs under litefs at ${url}`)
  const transactions = await useApplication(url, signal)
  await waitForTxid(mount.mountPath, 'notes.db', before.txid + transactions, signal)

  const shell = await useShell(mount.mountPath, signal)
  if (shell)
    console.log(
      `  sqlite3 ${shell.version} beside it: a transaction in notes.db, and words.db (DELETE mode, 1 KiB pages)`,
    )
  else console.log('  (there is no sqlite3 shell here to use beside it)')
  await waitForTxid(mount.mountPath, 'notes.db', before.txid + transactions + (shell ? 1 : 0), signal)

  return ['notes.db', ...(shell?.databases ?? [])]
}

/** Waits until the replica is where the primary is, and compares what a SQLite client reads on each. */
async function compareReplica({ primary, replica }, names, signal) {
  const results = []
  for (const name of names) {
    const position = await readPosition(primary.mountPath, name)
    const waitedMs = await waitForPosition(replica.mountPath, name, position, signal)
    const seen = await inspect(path.join(primary.mountPath, name), signal)
    const there = await inspect(path.join(replica.mountPath, name), signal)
    assert.deepEqual(there, seen, `${name} on the replica equals ${name} on the primary`)
    results.push({ name, position, seen })
    console.log(`  ${name}: ${there.rows} rows on the replica at ${position.text}, after ${waitedMs.toFixed(0)} ms`)
  }
  const lag = (await readFile(path.join(replica.mountPath, '.lag'), 'utf8')).trim()
  console.log(`  ${path.join(replica.mountPath, '.lag')}: ${Number(lag)} ms behind`)
  return results
}

async function waitForPosition(mountPath, name, wanted, signal) {
  const start = performance.now()
  for (;;) {
    const found = await readPosition(mountPath, name).catch(() => undefined)
    const waitedMs = performance.now() - start
    if (found?.text === wanted.text) return waitedMs
    assert.ok(waitedMs < REPLICA_TIMEOUT_MS, `${name} arrives: it is at ${found?.text}, not ${wanted.text}`)
    await delay(LOOK_MS, undefined, { signal })
  }
}

/** Resolves with the first Ctrl-C, from the moment it is called. */
async function play({ primary, replica }, url) {
  const interrupted = new Promise((resolve) => process.once('SIGINT', resolve))
  const [ours, theirs] = [primary, replica].map(({ mountPath }) => path.join(mountPath, 'notes.db'))
  console.log('\nBoth stay up until you press Ctrl-C. Try, in another terminal:')
  console.log(`  sqlite3 ${ours} "INSERT INTO notes(body) VALUES ('hello')"`)
  console.log(`  sqlite3 ${theirs} "SELECT * FROM notes ORDER BY id DESC LIMIT 1"`)
  console.log(`  sqlite3 ${theirs} "DELETE FROM notes"          # refused: it is a replica`)
  console.log(`  cat ${theirs}-pos ${path.join(replica.mountPath, '.lag')} ${path.join(replica.mountPath, '.primary')}`)
  console.log(`  node ${litefsScript} status -url ${primary.url}`)
  console.log(`  the application: ${url}   the nodes: ${primary.url}/databases  ${replica.url}/databases`)
  const keepAlive = setInterval(() => {}, 2 ** 30)
  await interrupted
  clearInterval(keepAlive)
  console.log('')
}

async function startNodes(directory, cleanups) {
  const [first, second] = [path.join(directory, 'primary'), path.join(directory, 'replica')]
  for (const each of [first, second]) {
    await mkdir(each)
    cleanups.push(() => removeDirectory(each))
  }
  const env = { ...process.env, DATABASE: path.join(first, 'mount/notes.db'), PORT: '0' }
  const primary = await startMount(first, { command: [process.execPath, serverScript], env })
  cleanups.push(primary.stop)
  const replica = await startReplica(second, primary.url)
  cleanups.push(replica.stop)
  return { primary, replica }
}

/** `limit` is told when the time for the demo begins, and when it stops to count. */
async function demo(cleanups, { stay, limit, signal }) {
  limit.start()
  const directory = await mkdtemp(path.join(os.tmpdir(), 'litefs-demo-'))
  cleanups.push(() => removeDirectory(directory))
  const nodes = await startNodes(directory, cleanups)
  const { primary, replica } = nodes
  const [, url] = await primary.output.waitFor(/notes listening on (\S+)/, POSITION_TIMEOUT_MS)
  const names = await useMount(primary, url, signal)
  console.log(`A replica follows ${primary.url}:`)
  let databases = await compareReplica(nodes, names, signal)
  if (stay) {
    const played = play(nodes, url)
    limit.stop()
    await played
    limit.start()
    console.log('What the replica has now:')
    databases = await compareReplica(nodes, names, signal)
  }

  assert.equal(await replica.stop(), 0, `the replica ends with code 0 on SIGTERM:\n${replica.output.text()}`)
  assert.equal(await primary.stop(), 0, `litefs ends with code 0 on SIGTERM:\n${primary.output.text()}`)
  console.log('Application and daemons stopped.')
  for (const database of databases) await rebuild(database, primary.dataPath, directory, signal)
  console.log('\nContent verified: what went in through the mount is on the replica, and is what the LTX files hold.')
  limit.stop()
}

async function main() {
  const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } })
  const stay = process.stdin.isTTY === true && !values.once
  const interruption = new AbortController()
  const interrupt = (name) => interruption.abort(new Error(`Stopped by ${name}`))
  for (const name of ['SIGTERM', 'SIGHUP']) process.once(name, () => interrupt(name))
  const onInterrupt = () => interrupt('SIGINT')
  let timer
  const limit = {
    start: () => {
      process.once('SIGINT', onInterrupt)
      timer = setTimeout(() => interruption.abort(new Error('It took too long')), TIMEOUT_MS)
    },
    stop: () => {
      process.off('SIGINT', onInterrupt)
      clearTimeout(timer)
    },
  }
  const cleanups = []
  try {
    await demo(cleanups, { stay, limit, signal: interruption.signal })
  } finally {
    limit.stop()
    for (const cleanup of cleanups.reverse()) await cleanup()
  }
}

try {
  await main()
} catch (error) {
  console.error(`The demo failed: ${error.message}`)
  process.exitCode = 1
}
