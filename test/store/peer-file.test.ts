import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { PeerFile } from '../../src/store/peer-file.js'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 22)
const peer = (name: string, nodeId: string | undefined = 'AA') => ({
  hostname: name,
  advertiseUrl: `http://${name}:20202`,
  nodeId,
})

t.test('peers are remembered for a week', async (t) => {
  const dir = t.testdir({})
  const file = path.join(dir, 'peers')
  const peers = PeerFile.load(dir)
  t.strictSame(peers.known(NOW_MS), [])
  peers.remember([peer('a'), peer('b', undefined)], NOW_MS)
  peers.remember([peer('c')], NOW_MS + HOUR_MS)
  const loaded = PeerFile.load(dir)
  t.strictSame(loaded.known(NOW_MS + HOUR_MS), [peer('a'), peer('b', undefined), peer('c')])

  const before = readFileSync(file, 'utf8')
  loaded.remember([peer('c')], NOW_MS + HOUR_MS + 1)
  t.equal(readFileSync(file, 'utf8'), before, 'nothing new')
  loaded.remember([peer('a', 'BB')], NOW_MS + HOUR_MS + 1)
  t.strictSame(PeerFile.load(dir).known(NOW_MS + 2 * HOUR_MS), [peer('b', undefined), peer('c'), peer('a', 'BB')])
  t.strictSame(PeerFile.load(dir).known(NOW_MS + 7 * 24 * HOUR_MS), [peer('c'), peer('a', 'BB')])
  const many = Array.from({ length: 100 }, (_, i) => peer(`n${i}`))
  loaded.remember(many, NOW_MS)
  t.strictSame(PeerFile.load(dir).known(NOW_MS), many.slice(-32))
  loaded.replace([peer('n99'), peer('d')], NOW_MS)
  t.strictSame(PeerFile.load(dir).known(NOW_MS), [peer('n99'), peer('d')], 'the others are forgotten')
  loaded.replace([], NOW_MS)
  t.strictSame(PeerFile.load(dir).known(NOW_MS), [])
})

t.test('a file of something else is not overwritten', async (t) => {
  for (const content of ['{}\n', 'not ours\n', '{"hostname":"a","advertiseUrl":1,"atMs":0}\n']) {
    const dir = t.testdir({})
    writeFileSync(path.join(dir, 'peers'), content)
    t.throws(() => PeerFile.load(dir), /Cannot read .*peers: remove it/)
  }
})
