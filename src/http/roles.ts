import type { FastifyInstance } from 'fastify'
import { formatTxid } from '../ltx/names.js'
import { RequestError, requiredText, sendJson } from './answers.js'
import type { NodeView } from './node-view.js'

/** Who is primary, and how that changes: /promote, /handoff, /demote, and what the nodes of a cluster ask each other. */
export function addRoles(app: FastifyInstance, view: NodeView): void {
  const { roles } = view
  const done = { done: true }
  app.post('/promote', async (_request, reply) => {
    await roles.promote()
    return sendJson(reply, done)
  })
  app.post('/handoff', async (request, reply) => {
    const id = requiredText(request.query, 'nodeID')
    if (!/^[0-9A-Fa-f]{1,16}$/.test(id))
      throw new RequestError(400, `Cannot hand over: ${JSON.stringify(id.slice(0, 40))} is no node id`)
    await roles.handOff(id.toUpperCase().padStart(16, '0'))
    return sendJson(reply, done)
  })
  app.post('/demote', async (_request, reply) => {
    await roles.demote()
    return sendJson(reply, done)
  })
  // From a node that has won the lease and found this one ahead of it.
  app.post('/lease', async (request, reply) => {
    await roles.takeLease(requiredText(request.query, 'id'))
    return sendJson(reply, done)
  })
  app.get('/positions', async (_request, reply) => {
    const { isSynced, epoch, positions } = await roles.standing()
    const databases = [...positions].map(([name, { txid, checksum }]) => {
      return { name, txid: formatTxid(txid), checksum: formatTxid(checksum) }
    })
    const clusterID = view.clusterId()
    const { candidate } = view.role()
    const named = clusterID === undefined ? {} : { clusterID }
    return sendJson(reply, { ...named, candidate, synced: isSynced, epoch: String(epoch), databases })
  })
}
