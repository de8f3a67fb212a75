// `litefs restore` and `litefs replicate` are killed in place of each system call that they make where they write: a restore leaves what was there or
// the whole database, and a backup can be restored whatever it has in it. In short form some of the calls; FAULTS_ALL=1 tries every one.
import { execFile } from 'node:child_process'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { sql } from '../system/backups.js'
import { FailingCalls, KILLS } from '../system/failing-calls.js'
import { litefsScript } from '../system/harness.js'
import { contentHash } from '../system/judges.js'

const ALL = process.env['FAULTS_ALL'] !== undefined
/** Calls that are tried in short form. */
const SHORT_CALLS = 2
/** SIGTERM then. */
const LIMIT_MS = 60_000

t.setTimeout(ALL ? 3_600_000 : 120_000)

/** Runs litefs with these faults, if any; whether it was killed. */
async function litefs(t: Test, faults: FailingCalls | undefined, ...args: string[]): Promise<boolean> {
  const options = { env: faults?.env ?? process.env, timeout: LIMIT_MS }
  return await new Promise((resolve) => {
    execFile(process.execPath, [litefsScript, ...args], options, (error, _stdout, stderr) => {
      const isKilled = error?.signal === 'SIGKILL'
      if (error !== null && !isKilled) t.fail(`litefs ${args.join(' ')}: ${error.message} ${stderr}`)
      resolve(isKilled)
    })
  })
}

/** Kills `once` in place of one call after the other of those that it makes, and looks each time. */
async function atEachCall(
  t: Test,
  faults: FailingCalls,
  once: () => Promise<boolean>,
  look: (call: string) => Promise<void>,
): Promise<void> {
  faults.arm()
  t.notOk(await once(), 'a first time without a fault')
  const count = faults.seen
  t.ok(count > SHORT_CALLS, `${count} calls`)
  const step = ALL ? 1 : Math.ceil(count / SHORT_CALLS)
  for (let at = step; at <= count; at += step) {
    faults.arm({ at, allAfter: false, errno: KILLS, torn: at % 2 === 0 })
    const isKilled = await once()
    const call = `call ${at} of ${count}, ${faults.what}`
    faults.disarm()
    // What it does side by side may be fewer calls another time.
    if (isKilled) await look(call)
    else t.comment(`${call}: it ended before`)
  }
}

async function backup(t: Test, directory: string): Promise<{ file: string; url: string }> {
  const file = path.join(directory, 'source.db')
  const url = `file://${directory}/backup`
  await sql(file, 'create table t(a, b); insert into t values (1, hex(randomblob(100000)))')
  t.notOk(await litefs(t, undefined, 'replicate', '-once', file, url))
  return { file, url }
}

t.test('a restore', async (t) => {
  const directory = t.testdir({ out: {} })
  const { file, url } = await backup(t, directory)
  const wanted = await contentHash(file)
  const out = path.join(directory, 'out')
  const target = path.join(out, 'my.db')
  const faults = await FailingCalls.build(t, out)
  const restore = async () => {
    await writeFile(target, 'precious')
    return await litefs(t, faults, 'restore', '-force', '-o', target, url)
  }
  await atEachCall(t, faults, restore, async (call) => {
    const isOld = (await readFile(target)).equals(Buffer.from('precious'))
    t.ok(isOld || (await contentHash(target)) === wanted, `${call}: what there was, or all of it`)
  })
  t.notOk(await litefs(t, undefined, 'restore', '-force', '-o', target, url))
  t.equal(await contentHash(target), wanted)
  const left = await readdir(out, { recursive: true, withFileTypes: true })
  const files = left.filter((entry) => entry.isFile()).map(({ name }) => name)
  t.strictSame(files, ['my.db'], 'nothing is left of those that were killed')
})

t.test('a backup', async (t) => {
  const directory = t.testdir({ out: {} })
  const { file, url } = await backup(t, directory)
  const faults = await FailingCalls.build(t, path.join(directory, 'backup'))
  let row = 1
  let before = await contentHash(file)
  const replicate = async () => {
    before = await contentHash(file)
    await sql(file, `insert into t values (${++row}, hex(randomblob(3000)))`)
    return await litefs(t, faults, 'replicate', '-once', file, url)
  }
  const target = path.join(directory, 'out/my.db')
  await atEachCall(t, faults, replicate, async (call) => {
    t.notOk(await litefs(t, undefined, 'restore', '-o', target, url), call)
    t.ok(
      [before, await contentHash(file)].includes(await contentHash(target)),
      `${call}: the last one, or the one before`,
    )
    await rm(target)
    t.notOk(await litefs(t, undefined, 'replicate', '-once', file, url))
    t.notOk(await litefs(t, undefined, 'restore', '-o', target, url), 'and it goes on')
    t.equal(await contentHash(target), await contentHash(file))
    await rm(target)
  })
  const names = await readdir(path.join(directory, 'backup/ltx/0'))
  t.ok(names.length > 1)
})
