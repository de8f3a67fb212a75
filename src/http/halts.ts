import type { FastifyInstance, FastifyRequest } from 'fastify'
import { LtxError } from '../ltx/error.js'
import { ProtocolError } from '../replication/error.js'
import { encodeHaltLock, parseHaltId } from '../replication/halt-lock.js'
import { IncomingFile } from '../replication/incoming-file.js'
import { databaseName, RequestError, requiredText, textOf } from './answers.js'
import type { NodeView } from './node-view.js'
import { replicaOf } from './replica-request.js'
import { EPOCH_HEADER, LTX_VERSION_HEADER } from './stream-headers.js'

/** Largest transaction that is taken into memory, bytes; larger ones go through a file. */
const MEMORY_BYTES = 4 << 20

/** Writing from another node: /halt keeps the writers of a database waiting, /tx commits what the holder of that lock has made. */
export function addHalts(app: FastifyInstance, view: NodeView): void {
  app.post('/halt', async (request, reply) => {
    const name = databaseName(request.query)
    const id = haltId(request, 'id')
    const nodeId = replicaOf(request, view, `halt ${name}`)
    const holder = { nodeId, renews: request.headers[EPOCH_HEADER] !== undefined }
    // LiteFS passes over the parameter and answers with the lock as it is.
    const lock = await view.halts.take(name, id, holder, textOf(request.query, 'renew') === 'true')
    return reply.header(LTX_VERSION_HEADER, '3').type('application/json').send(encodeHaltLock(lock))
  })

  app.delete('/halt', async (request, reply) => {
    const name = databaseName(request.query)
    await view.halts.release(name, haltId(request, 'id'))
    return reply.send('')
  })

  app.post('/tx', async (request, reply) => {
    const name = databaseName(request.query)
    const id = haltId(request, 'lockID')
    replicaOf(request, view, `commit a transaction of ${name}`)
    const file = new IncomingFile(name, { directory: view.dataDir, memoryBytes: MEMORY_BYTES })
    try {
      await view.halts.commit(name, id, await received(request, file))
      return reply.send('')
    } finally {
      file.discard()
    }
  })
}

function haltId(request: FastifyRequest, key: string): bigint {
  const text = requiredText(request.query, key)
  const id = parseHaltId(text)
  if (id === undefined)
    throw new RequestError(400, `Cannot answer: ${JSON.stringify(text.slice(0, 40))} is no id of a halt lock (${key})`)
  return id
}

async function received(request: FastifyRequest, file: IncomingFile) {
  try {
    for await (const chunk of request.raw) file.write(chunk)
    return await file.verified()
  } catch (error) {
    if (error instanceof LtxError || error instanceof ProtocolError) throw new RequestError(400, error.message)
    throw error
  }
}
