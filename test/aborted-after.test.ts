// Time limits that come also when memory is collected before: Node 20 forgets AbortSignal.timeout where only AbortSignal.any knows of it.
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import t from 'tap'
import { abortedAfter } from '../src/aborted-after.js'

v8.setFlagsFromString('--expose-gc')
const collect = vm.runInNewContext('gc') as () => void

t.test('a limit that nobody else holds', async (t) => {
  const signals = Array.from({ length: 100 }, () => abortedAfter(200, new AbortController().signal))
  const aborted = Promise.all(signals.map((signal) => once(signal, 'abort')))
  for (let i = 0; i < 5; i++) {
    await delay(10)
    collect()
  }
  // Keeps the process, which the limits do not.
  const late = delay(10_000, 'late')
  t.not(await Promise.race([aborted, late]), 'late')
  for (const { reason } of signals) t.match(reason, { name: 'TimeoutError' })
})

t.test('whichever comes first', async (t) => {
  const controller = new AbortController()
  const signal = abortedAfter(60_000, controller.signal)
  controller.abort(new Error('asked to'))
  t.match(signal.reason, { message: 'asked to' })
  t.ok(abortedAfter(60_000, AbortSignal.abort()).aborted)
})
