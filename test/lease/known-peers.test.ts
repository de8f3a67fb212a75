import t from 'tap'
import { KnownPeers } from '../../src/lease/known-peers.js'
import { node } from './backends.js'

t.test('whoever was there once is remembered, but for this node', async (t) => {
  const peers = new KnownPeers(() => node('self').advertiseUrl)
  const [a, b] = [node('a'), node('b')]
  t.strictSame(peers.beside([node('self'), a, b]), { announced: [a, b], remembered: [] })
  t.strictSame(peers.beside([b]), { announced: [b], remembered: [a] })
  const again = { ...a, nodeId: 'FF' }
  peers.remember([again, node('self')])
  t.strictSame(peers.beside([]), { announced: [], remembered: [b, again] }, 'as it was last')
  peers.remember(Array.from({ length: 100 }, (_, i) => node(`n${i}`)))
  const { remembered } = peers.beside([])
  t.equal(remembered.length, 32)
  t.match(remembered.at(-1), node('n99'))
})
