// One backup that Litestream and we write in turns: each goes on where the other stopped, and both restore every state alike. What CI has of
// Litestream is its SQLite extension, which writes uploads and restores. LITESTREAM_BIN=/path/to/litestream is for the program itself.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { names, restored, sameAsLitestream, sql, WAIT_MS } from '../system/backups.js'
import { litefsScript, run } from '../system/harness.js'
import { contentHash } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import { litestreamWrite } from './oracle.js'

const LITESTREAM = process.env['LITESTREAM_BIN']
const ROWS = 'select group_concat(b) from t'
const MANY = 'insert into t(b) select hex(randomblob(500)) from generate_series(1, 200)'

/** `litefs replicate -once`. */
async function upload(t: Test, file: string, url: string): Promise<string> {
  const { code, stdout, stderr } = await run(process.execPath, [litefsScript, 'replicate', '-once', file, url])
  t.equal(code, 0, stderr)
  return stdout + stderr
}

async function uploads(directory: string): Promise<number> {
  return (await names(path.join(directory, 'backup/ltx/0'))).length
}

t.test("Litestream's extension, 0.5.17 of npm's litestream-vfs, writes after us, and we after it", async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'my.db')
  const url = `file://${directory}/backup`
  const states: string[] = []
  const agreed = async (rows: string, who: string) => {
    const found = await sameAsLitestream(t, url, who)
    t.equal(await sql(found, `pragma integrity_check; ${ROWS}`), `ok\n${rows}\n`, who)
    t.equal(await uploads(directory), states.push(await contentHash(found)), `${who}: one upload each`)
  }
  await sql(file, "pragma journal_mode = wal; create table t(b); insert into t values ('ours')")
  await upload(t, file, url)
  await agreed('ours', 'we begin')
  await litestreamWrite(t, url, "insert into t values ('theirs')")
  await agreed('ours,theirs', 'Litestream goes on')
  await litestreamWrite(t, url, "delete from t where b = 'ours'")
  await agreed('theirs', 'and on')

  const { file: taken } = await restored(t, url)
  await sql(taken, "insert into t values ('ours again')")
  t.match(await upload(t, taken, url), 'was written by Litestream')
  await agreed('theirs,ours again', 'we take it back')
  await litestreamWrite(t, url, `update t set b = b || '!'`)
  await agreed('theirs!,ours again!', 'and Litestream once more')
  for (const [i, wanted] of states.entries()) {
    const { file: then } = await restored(t, url, { txid: BigInt(i + 1) })
    t.equal(await contentHash(then), wanted, `TXID ${i + 1} as it was`)
  }
})

/** Runs the program to its end. */
async function litestream(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(LITESTREAM ?? '', args)
  if (code !== 0) throw new Error(`litestream ${args.join(' ')}: ${stdout}${stderr}`)
  return stdout + stderr
}

/** `litestream replicate` beside a writer, ended by SIGTERM. */
async function beside(t: Test, file: string, url: string, write: () => Promise<unknown>): Promise<string> {
  const child = spawn(LITESTREAM ?? '', ['replicate', file, url], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk))
  await eventually(`replicating: ${said}`, WAIT_MS, async () => said.includes('replicating to') || undefined)
  await write()
  const wanted = await rowsOf(file)
  // What came just before SIGTERM it leaves for its next start.
  await eventually(`${wanted} in the backup`, WAIT_MS, async () => {
    return (await rowsOf((await restored(t, url)).file)) === wanted || undefined
  })
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  await closed
  t.equal(child.exitCode, 0, said)
  return said
}

const skip = LITESTREAM === undefined && 'only with LITESTREAM_BIN=/path/to/litestream'
t.test(`the original, ${LITESTREAM ?? 'LITESTREAM_BIN'}, goes on after us, and we after it`, { skip }, async (t) => {
  const directory = t.testdir()
  const file = path.join(directory, 'my.db')
  const url = `file://${directory}/backup`
  const states: { txid: string; hash: string }[] = []
  const both = async (txid: string | undefined, what: string) => {
    const theirs = path.join(directory, 'theirs.db')
    await rm(theirs, { force: true })
    await litestream('restore', '-o', theirs, ...(txid === undefined ? [] : ['-txid', txid]), url)
    const found = await restored(t, url, txid === undefined ? {} : { txid: BigInt(`0x${txid}`) })
    t.ok((await readFile(theirs)).equals(await readFile(found.file)), `${what}: the same bytes`)
    t.equal(await sql(theirs, 'pragma integrity_check'), 'ok\n')
    return found
  }
  const agreed = async (what: string) => {
    const { file: found, txid } = await both(undefined, what)
    // Not of all tables: Litestream keeps two of its own in the database, and changes them after an upload.
    t.equal(await rowsOf(found), await rowsOf(file), what)
    states.push({ txid: txid.toString(16).padStart(16, '0'), hash: await contentHash(found) })
  }
  const insert = (b: string) => sql(file, `insert into t(b) values ('${b}')`)
  await sql(file, `pragma journal_mode = wal; create table t(a integer primary key, b); ${MANY}`)
  await upload(t, file, url)
  await insert('ours')
  await upload(t, file, url)
  await agreed('we begin')
  await insert('before the takeover')
  await litestream('replicate', '-once', file, url)
  await agreed('Litestream takes over')
  await beside(t, file, url, async () => {
    await insert('theirs')
    await sql(file, `${MANY}; delete from t where a % 3 = 0`)
  })
  await agreed('Litestream goes on')
  await insert('ours again')
  t.match(await upload(t, file, url), 'all of it is uploaded')
  await agreed('we take it back')
  await insert('ours once more')
  await upload(t, file, url)
  await agreed('we go on')
  await beside(t, file, url, () => insert('theirs again'))
  await agreed('Litestream takes it back, with what it remembers of before')
  for (const { txid, hash } of states) t.equal(await contentHash((await both(txid, `TXID ${txid}`)).file), hash)
})

async function rowsOf(file: string): Promise<string> {
  return await sql(file, 'select count(*), sum(a), sum(length(b)), max(b) from t')
}
