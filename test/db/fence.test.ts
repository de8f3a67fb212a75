// A node whose lease runs out acknowledges nothing, neither before nor after the disk has it.
import path from 'node:path'
import t from 'tap'
import { testDirectory } from './crash-points.js'
import { again, commits, stateOf } from './replays.js'
import { loadTrace, TracedNode } from './traced-writes.js'

const TRACES = ['delete', 'truncate', 'persist', 'modes', 'wal-full', 'wal-exclusive']

for (const trace of TRACES) {
  t.test(`no commit while the fence is closed: ${trace}`, async (t) => {
    const dir = testDirectory(t)
    const calls = loadTrace(trace)
    const ends = await commits(path.join(dir, 'commits'), calls)
    const node = await TracedNode.open(path.join(dir, 'data'))
    for (const [index, call] of calls.entries()) {
      const begin = ends.get(index)
      if (begin !== undefined) {
        const before = stateOf(node)
        node.fence = 'closed'
        t.throws(() => node.do(call), { code: 'EIO' }, `call ${index}`)
        t.equal(stateOf(node), before, 'nothing changed')
        node.fence = 'open'
        for (const past of again(calls, begin, index)) node.do(past)
      }
      node.do(call)
    }
    await node.close()
  })
}

for (const trace of ['delete', 'truncate', 'persist']) {
  t.test(`a fence that closes while the disk takes the commit: ${trace}`, async (t) => {
    const dir = testDirectory(t)
    const calls = loadTrace(trace)
    const ends = await commits(path.join(dir, 'commits'), calls)
    const node = await TracedNode.open(path.join(dir, 'data'))
    let late = 0
    for (const [index, call] of calls.entries()) {
      if (ends.has(index)) {
        const before = stateOf(node)
        node.fence = 'closing'
        const durable = attempt(() => node.do(call)) === 'EIO'
        if (durable) t.equal(stateOf(node), before, `call ${index}: taken back`)
        if (durable) late++
        node.fence = 'open'
        if (!durable) continue
      }
      node.do(call)
    }
    t.ok(trace === 'persist' || late > 3, `${late} commits that waited for the disk`)
    await node.close()
  })
}

t.test('a fence that closes between the commit frame and the end of its fsync', async (t) => {
  const dir = testDirectory(t)
  const calls = loadTrace('wal-full')
  const ends = await commits(path.join(dir, 'commits'), calls)
  const node = await TracedNode.open(path.join(dir, 'data'))
  const wals = new Set(calls.flatMap((call) => (call[0] === 'open' && call[2].endsWith('-wal') ? [call[1]] : [])))
  let committed = false
  let refused = 0
  for (const [index, call] of calls.entries()) {
    if (ends.has(index)) committed = true
    const waits = call[0] === 'sync' && wals.has(call[1]) && committed
    if (waits) {
      committed = false
      const database = [...node.databases.values()].find(({ provisional }) => provisional)
      node.fence = 'closing'
      const before = database?.position
      t.equal(
        attempt(() => node.do(call)),
        database === undefined ? undefined : 'EIO',
        `call ${index}`,
      )
      if (database !== undefined) refused++
      t.same(database?.position, before, 'what was refused is not final')
      t.ok(database?.provisional ?? true)
      node.fence = 'open'
    }
    node.do(call)
  }
  t.ok(refused > 3, `${refused} commits`)
  await node.close()
})

/** The code of what it throws; undefined when it throws nothing. */
function attempt(work: () => void): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}
