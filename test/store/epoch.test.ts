import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Epoch } from '../../src/store/epoch.js'

t.test('the highest epoch outlives the process, and none before it is accepted', async (t) => {
  const dir = t.testdir()
  const epoch = Epoch.load(dir)
  t.equal(epoch.highest, 0n)
  epoch.accept(undefined)
  t.notOk(fs.existsSync(path.join(dir, 'epoch')), 'LiteFS counts none')
  epoch.accept(7n)
  epoch.accept(7n)
  t.throws(() => epoch.accept(6n), { message: /^Cannot follow the primary: its lease \(epoch 6\) is older/ })
  epoch.remember(5n)
  t.equal(epoch.highest, 7n)
  const again = Epoch.load(dir)
  t.equal(again.highest, 7n)
  t.throws(() => again.accept(6n), { message: /older than one of another primary \(7\)/ })
  t.strictSame(fs.readdirSync(dir), ['epoch'])
})

t.test('an epoch that no cluster can have come to is not kept: it would be the end of all leases', (t) => {
  const dir = t.testdir()
  const epoch = Epoch.load(dir)
  epoch.accept(1_000_000n)
  for (const wild of [1n << 33n, 10n ** 19n - 1n]) {
    t.throws(() => epoch.accept(wild), {
      message: /^Cannot follow the primary: the epoch of its lease, \d+, cannot be right/,
    })
  }
  t.equal(Epoch.load(dir).highest, 1_000_000n)
  t.end()
})

t.test('what is no epoch is not passed over', async (t) => {
  for (const epoch of ['', 'x', '-1', '1.5', '\0\0']) {
    t.throws(() => Epoch.load(t.testdir({ epoch })), { message: /^Cannot read the epoch: .* remove it/ })
  }
})
