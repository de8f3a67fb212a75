import type { FastifyRequest } from 'fastify'
import { isCredible } from '../store/epoch.js'
import { RequestError } from './answers.js'
import type { NodeView } from './node-view.js'
import { EPOCH_HEADER, parseEpoch } from './stream-headers.js'

/**
 * Returns the id of the replica that asks this node, as the primary, to `what`. Throws RequestError where it is not the primary, or not that
 * replica's.
 */
export function replicaOf(request: FastifyRequest, view: NodeView, what: string): string {
  const id = String(request.headers['litefs-id'] ?? '')
  if (!/^[0-9A-Fa-f]{1,16}$/.test(id)) throw new RequestError(400, `Cannot ${what}: the header Litefs-Id is no node id`)
  const replicaId = id.toUpperCase().padStart(16, '0')
  if (replicaId === view.nodeId) throw new RequestError(400, `Cannot ${what}: this node cannot be its own replica`)
  refuseStranger(request, view, what)
  const serving = view.serving()
  if (serving === undefined) throw new RequestError(503, `Cannot ${what}: this node is not the primary`)
  const heard = parseEpoch(request.headers[EPOCH_HEADER])
  if (serving.epoch !== undefined && heard !== undefined && heard > serving.epoch) {
    if (!isCredible(heard, serving.epoch)) {
      throw new RequestError(
        400,
        `Cannot ${what}: the replica's Litefs-Epoch, ${heard}, cannot be right where this lease's is ${serving.epoch}`,
      )
    }
    view.heardOf(heard)
    throw new RequestError(
      503,
      `Cannot ${what}: the replica has heard of a later lease (${heard}) than ${serving.epoch}`,
    )
  }
  return replicaId
}

/** A replica of another cluster would give up its databases for ours. LiteFS' replicas do not say theirs. */
function refuseStranger(request: FastifyRequest, view: NodeView, what: string): void {
  const theirs = String(request.headers['litefs-cluster-id'] ?? '')
  const ours = view.clusterId()
  if (theirs === '' || ours === undefined || theirs === ours) return
  const remedy = `let the replica's lease.advertise-url name its own primary, or remove clusterid in its data.dir to let this cluster's databases take the place of its own`
  throw new RequestError(
    409,
    `Cannot ${what}: this is cluster ${ours}, the replica's data belongs to ${theirs.slice(0, 40)}; ${remedy}`,
  )
}
