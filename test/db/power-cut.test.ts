import fs from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { randomNumbers } from '../sqlite/bytes.js'
import { checksumFromScratch } from '../system/judges.js'
import {
  allowedAt,
  type CrashPoint,
  crashesInRecovery,
  crashPoints,
  judge,
  type Milestone,
  milestones,
  testDirectory,
} from './crash-points.js'
import { loadTrace, TracedNode } from './traced-writes.js'

/** Moments of a run at which it crashes; POWER_CUT_POINTS=100000 tries them all. */
const POINTS = Number(process.env['POWER_CUT_POINTS'] ?? 12)
/** Crashes of a run whose recovery is interrupted at every moment; POWER_CUT_AGAIN=100000 does so with all. */
const AGAIN = Number(process.env['POWER_CUT_AGAIN'] ?? 2)
/** Interrupt a recovery at every change to the disk, not only at every fourth. */
const ALL = process.env['POWER_CUT_AGAIN'] !== undefined
/** Where `synchronous` promises nothing, a power cut may take transactions back. */
const NOT_DURABLE = ['wal-normal']

const TRACES = fs
  .readdirSync(new URL('../fixtures/sqlite-writes', import.meta.url))
  .filter((name) => name.endsWith('.json.gz'))
  .map((name) => name.replace('.json.gz', ''))

async function start(t: Test, point: CrashPoint, allowed: readonly Milestone[], title: string): Promise<string> {
  try {
    const node = await TracedNode.open(point.dir)
    await node.close()
    return await judge(t, node, allowed, title)
  } catch (error) {
    t.fail(`${title}: ${(error as Error).message}`, { error })
    return ''
  } finally {
    fs.rmSync(point.dir, { recursive: true })
  }
}

for (const name of TRACES) {
  t.test(`${name}: a crash at any moment, and others while it is recovered from`, async (t) => {
    const dir = testDirectory(t)
    const calls = loadTrace(name)
    const random = randomNumbers(calls.length)
    const wanted = milestones(path.join(dir, 'plain'), calls)
    const points = await crashPoints(dir, calls, POINTS, random)
    let interruptions = 0
    for (const [index, point] of points.entries()) {
      const allowed = allowedAt(wanted, point.call, point.fate !== 'killed', !NOT_DURABLE.includes(name))
      const title = `${point.fate} during call ${point.call} (${calls[point.call]?.slice(0, 3)})`
      const again =
        index % Math.ceil(points.length / AGAIN) === 1 ? await crashesInRecovery(point, ALL ? 1 : 4, random) : []
      const content = await start(t, point, allowed, title)
      for (const [moment, next] of again.entries()) {
        const found = await start(t, next, allowed, `${title}, then ${next.fate} in recovery, ${moment}`)
        if (found !== content)
          t.equal(found, content, `${title}, then ${next.fate} in recovery, ${moment}: same outcome`)
      }
      interruptions += again.length
    }
    t.pass(`${points.length} crashes, ${interruptions} in recovery`)
    const node = await TracedNode.open(path.join(dir, 'data'))
    await node.close()
    for (const { layout, state } of node.databases.values()) {
      if (fs.existsSync(layout.database)) {
        t.equal(await checksumFromScratch(layout.database), state.checksum.toString(16), 'checksum at the end')
      }
    }
    await judge(t, node, wanted.slice(-1), 'at the end')
  })
}
