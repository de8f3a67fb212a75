import t from 'tap'
import { StaticLeaser } from '../../src/lease/static-leaser.js'

const signal = AbortSignal.timeout(10_000)

t.test('the candidate has the lease for ever, and knows no other primary', async (t) => {
  const leaser = new StaticLeaser(undefined)
  const lease = await leaser.acquire()
  t.equal(lease?.ttlMs, Number.POSITIVE_INFINITY)
  t.equal(await lease?.renew(signal), true)
  t.equal(await leaser.primary(), undefined)
})

t.test('another node knows the primary from its configuration, and gets no lease', async (t) => {
  const leaser = new StaticLeaser({ hostname: 'one', advertiseUrl: 'http://one:20202' })
  t.equal(await leaser.acquire(), undefined)
  const primary = { hostname: 'one', advertiseUrl: 'http://one:20202', nodeId: undefined, epoch: undefined }
  t.strictSame(await leaser.primary(), primary)
  t.strictSame(await leaser.changed(primary, 1, signal), primary)
  await t.rejects(leaser.changed(primary, 60_000, AbortSignal.abort()), { name: 'AbortError' })
  await t.rejects(leaser.swapClusterId(), /lease\.type "static"/)
})
