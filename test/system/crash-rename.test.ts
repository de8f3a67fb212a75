// The daemon is killed at each of its steps of a rename, and at random moments: the next start finds all of it done or nothing.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { isLong, roundsOf, seededRandom } from './rounds.js'

t.setTimeout(60 * 60_000)

const ROUNDS = roundsOf(1)
/** In short form only some of the steps are tried. */
const STRIDE = isLong ? 1 : 8
const LONGEST_RENAME_MS = 60
/** More than a rename makes; the test ends at the first one that is not killed. */
const MOST_STEPS = 60
/** What changes something on the disk. */
const STEPS = 'rename,fsync,fdatasync,unlink,rmdir,mkdir'
const random = seededRandom(t)

/** Each of its databases holds one row, which says what it is. */
interface Scene {
  /** What `mv` renames. */
  readonly from: string
  readonly to: string
  /** Names of the databases before and after, and what is in them. */
  readonly before: Readonly<Record<string, string>>
  readonly after: Readonly<Record<string, string>>
}

const REPLACE: Scene = {
  from: 'a.db',
  to: 'b.db',
  before: { 'a.db': 'new', 'b.db': 'old' },
  after: { 'b.db': 'new' },
}
const DIRECTORY: Scene = {
  from: 'd',
  to: 'e',
  before: { 'd/x.db': 'x', 'd/s/y.db': 'y' },
  after: { 'e/x.db': 'x', 'e/s/y.db': 'y' },
}

for (const scene of [REPLACE, DIRECTORY]) {
  t.test(`${scene.from} to ${scene.to}: killed at every step`, async (t) => {
    let mount = await startMount(t)
    const outcomes = new Set<string>()
    for (let step = 1; step <= MOST_STEPS; step += STRIDE) {
      await arrange(mount, scene)
      const moved = await moveKilled(mount, scene, step)
      await mount.kill('SIGKILL')
      mount = await startMount(t, { dataDir: mount.dataDir, mountDir: mount.dir })
      outcomes.add(await judge(t, mount, scene, moved, `step ${step}`))
      if (moved) break
    }
    t.same([...outcomes], ['before', 'after'], 'both outcomes were seen')
  })

  t.test(`${scene.from} to ${scene.to}: killed at random moments`, async (t) => {
    let mount = await startMount(t)
    for (let round = 1; round <= ROUNDS; round++) {
      await arrange(mount, scene)
      const moving = move(mount, scene)
      await delay(random(LONGEST_RENAME_MS))
      await mount.kill('SIGKILL')
      const moved = await moving
      mount = await startMount(t, { dataDir: mount.dataDir, mountDir: mount.dir })
      await judge(t, mount, scene, moved, `round ${round}`)
    }
  })
}

/** Puts the scene there anew; what a name had before goes on in its LTX files. */
async function arrange({ dir }: Mount, { before, after, from, to }: Scene): Promise<void> {
  const paths = [...Object.keys(before), ...Object.keys(after), from, to].map((name) => path.join(dir, name))
  await run('rm', ['-rf', ...paths])
  for (const [name, content] of Object.entries(before)) {
    const file = path.join(dir, name)
    await run('mkdir', ['-p', path.dirname(file)])
    await sqlite(file, `CREATE TABLE t(x, filling); INSERT INTO t VALUES('${content}', randomblob(100000))`)
  }
}

async function move({ dir }: Mount, { from, to }: Scene): Promise<boolean> {
  const { code } = await run('mv', ['-T', path.join(dir, from), path.join(dir, to)])
  return code === 0
}

/** Renames while strace kills the daemon in place of one of its system calls. */
async function moveKilled(mount: Mount, scene: Scene, step: number): Promise<boolean> {
  const injection = `inject=${STEPS}:signal=SIGKILL:when=${step}`
  const args = ['-f', '-p', String(mount.pid), '-o', '/dev/null', '-e', `trace=${STEPS}`, '-e', injection]
  const tracer = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const closed = once(tracer, 'close')
  await once(tracer.stderr, 'data')
  const moved = await move(mount, scene)
  // strace can wait for ever for a process that it killed itself.
  tracer.kill('SIGKILL')
  await closed
  return moved
}

/** Which of the two states is there; no other may be, and what is there is in the LTX files. */
async function judge(t: Test, mount: Mount, scene: Scene, moved: boolean, when: string): Promise<string> {
  const names = [...new Set([...Object.keys(scene.before), ...Object.keys(scene.after)])]
  const found: Record<string, string> = {}
  for (const name of names) {
    const file = path.join(mount.dir, name)
    if ((await run('test', ['-e', file])).code !== 0) continue
    found[name] = (await sqlite(file, 'SELECT x FROM t')).trim()
    await agree(t, mount, name)
  }
  const isAfter = JSON.stringify(found) === JSON.stringify(scene.after)
  if (!isAfter) t.same(found, scene.before, `nothing is renamed, ${when}`)
  if (moved) t.ok(isAfter, `what was acknowledged is there, ${when}`)
  t.notMatch(mount.output(), /set aside|rebuilt|mismatch/, when)
  return isAfter ? 'after' : 'before'
}
