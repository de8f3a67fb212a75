import fs from 'node:fs'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import t from 'tap'
import { LtxListing } from '../../src/db/ltx-listing.js'
import { expiredLtxFiles } from '../../src/db/retention.js'

function ltxName(minTxid: number, maxTxid = minTxid): string {
  return `${minTxid.toString(16).padStart(16, '0')}-${maxTxid.toString(16).padStart(16, '0')}.ltx`
}

t.test('retention takes what is old, but never the newest file', async (t) => {
  const dir = t.testdir({ [ltxName(1)]: 'a', [ltxName(2)]: 'bc', [ltxName(3)]: 'def', 'next.ltx.tmp': '' })
  const expired = await expiredLtxFiles(dir, Date.now() + 60_000)
  t.same(expired, [path.join(dir, ltxName(1)), path.join(dir, ltxName(2))])
  for (let old = 1; old <= 3; old++) {
    fs.utimesSync(path.join(dir, ltxName(old)), 5, 5)
    t.equal((await expiredLtxFiles(dir, 6_000)).length, Math.min(old, 2))
  }
  t.same(await expiredLtxFiles(t.testdir({ 'no.ltx': '' }), Date.now()), [])
})

t.test('files that span many transactions, with gaps between them', async (t) => {
  const dir = t.testdir({})
  const spans = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => ltxName(100_000 * i + 7, 100_000 * i + 7 + 50 * i))
  for (let old = 0; old <= spans.length; old++) {
    for (const [i, name] of spans.entries()) {
      fs.writeFileSync(path.join(dir, name), '')
      fs.utimesSync(path.join(dir, name), i < old ? 5 : 10, i < old ? 5 : 10)
    }
    t.same(
      await expiredLtxFiles(dir, 6_000),
      spans.slice(0, Math.min(old, spans.length - 1)).map((name) => path.join(dir, name)),
    )
  }
})

t.test('a directory of many files is read without stopping the world', async (t) => {
  const dir = t.testdir({})
  const count = 20_000
  for (let txid = 1; txid <= count; txid++) fs.closeSync(fs.openSync(path.join(dir, ltxName(txid)), 'w'))
  const listing = await LtxListing.read(dir)
  t.equal(listing.newest, ltxName(count))
  t.equal(listing.from('00000000000000ff'), ltxName(255))
  t.equal(listing.from('f'), undefined)
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  const expired = await expiredLtxFiles(dir, Date.now() + 60_000)
  delays.disable()
  t.equal(expired.length, count - 1)
  t.same(expired, [...expired].sort(), 'oldest first')
  t.comment(`longest stop: ${(delays.max / 1e6).toFixed(1)} ms`)
})
