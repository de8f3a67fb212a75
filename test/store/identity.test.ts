import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Identity, newClusterId } from '../../src/store/identity.js'

t.test('a node joins one cluster, for good', async (t) => {
  const dir = t.testdir({ id: 'F778001EC97EE331\n' })
  const identity = Identity.load(dir)
  t.equal(identity.clusterId, undefined)
  const clusterId = newClusterId()
  t.match(clusterId, /^LFSC[0-9A-F]{16}$/)
  t.throws(() => identity.joinCluster('LFSC1'), { message: /^Cannot join cluster "LFSC1": that is no cluster id/ })
  identity.joinCluster(clusterId)
  identity.joinCluster(clusterId)
  t.equal(identity.clusterId, clusterId)
  t.same(fs.readdirSync(dir).sort(), ['clusterid', 'id', 'unsynced'])
  t.equal(fs.readFileSync(path.join(dir, 'clusterid'), 'utf8'), `${clusterId}\n`)

  const again = Identity.load(dir)
  t.equal(again.clusterId, clusterId)
  t.ok(again.isUnsynced, 'it has joined, and never had everything')
  again.synced()
  t.notOk(again.isUnsynced)
  t.same(fs.readdirSync(dir).sort(), ['clusterid', 'id'])
  t.notOk(Identity.load(dir).isUnsynced, 'for good')
  t.not(again.nodeId, identity.nodeId)
  t.throws(() => again.joinCluster(newClusterId()), {
    message: /this node's data belongs to LFSC.*; let .* or remove .*clusterid/,
  })
  t.equal(fs.readFileSync(path.join(dir, 'clusterid'), 'utf8'), `${clusterId}\n`)
})

t.test('who founds a cluster has all of it', async (t) => {
  const founder = Identity.load(t.testdir({ unsynced: '' }))
  t.ok(founder.isUnsynced)
  founder.found()
  t.notOk(founder.isUnsynced)
})

t.test('what is no cluster id is not passed over', async (t) => {
  for (const clusterid of ['', 'LFSC\n', 'ABCD17E141C18F3F0F6F', 'LFSC17E141C18F3F0F6F0', '\0'.repeat(20)]) {
    t.throws(() => Identity.load(t.testdir({ clusterid })), { message: /^Cannot read cluster id: .* restore it/ })
  }
})
