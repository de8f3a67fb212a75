import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { readFrozenPages } from '../db/frozen-pages.js'
import { ImportError } from '../import/database-shape.js'
import { formatPosition } from '../ltx/names.js'
import type { HeldSnapshot } from '../replication/source.js'
import { databaseName, RequestError, sendJson } from './answers.js'
import type { NodeView } from './node-view.js'

/** GET /export and POST /import: whole databases as SQLite files. */
export function addTransfer(app: FastifyInstance, view: NodeView): void {
  app.get('/export', async (request, reply) => {
    const name = databaseName(request.query)
    const held = await view.source.snapshot(name)
    if (held === undefined) throw new RequestError(404, `Cannot export ${name}: there is no such database`)
    const { pageSize, pageCount, position } = held.pages
    const content = Readable.from(fileOf(held), { objectMode: false, highWaterMark: 1 << 20 })
    // Also where the stream is destroyed before anybody reads from it.
    content.on('close', () => held.release())
    reply.raw.on('close', () => content.destroy())
    reply.header('content-length', pageSize * pageCount).header('litefs-pos', formatPosition(position))
    return reply.type('application/vnd.sqlite3').send(content)
  })

  app.post('/import', async (request, reply) => {
    const name = databaseName(request.query)
    if (!view.role().isPrimary) throw new RequestError(503, `Cannot import ${name}: this node is not the primary`)
    try {
      return sendJson(reply, await view.importDatabase(name, request.raw))
    } catch (error) {
      if (error instanceof ImportError) throw new RequestError(400, error.message)
      throw error
    }
  })
}

async function* fileOf(held: HeldSnapshot): AsyncGenerator<Buffer, void> {
  // A copy: the stream keeps what it was given until it is sent.
  for await (const { bytes } of readFrozenPages(held.pages)) yield Buffer.from(bytes)
}
