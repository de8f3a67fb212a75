import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { Settler } from '../../src/store/settler.js'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

t.test('a transaction that its last connection made final is told of too', async (t) => {
  const told: string[] = []
  const parts = { pace: () => 'promptly' as const, settled: ({ name }: { name: string }) => told.push(name) }
  const settler = new Settler(async () => undefined, silent, parts)
  t.teardown(() => settler.stop())
  const files = { isOpen: () => true }
  const database = { name: 'a.db', provisional: true, closing: false, files, settle: () => false }
  settler.add(database)
  database.provisional = false
  while (told.length === 0) await delay(1)
  t.strictSame(told, ['a.db'])
})
