import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { readFrozenPages } from '../db/frozen-pages.js'
import { ImportError } from '../import/database-shape.js'
import { describeError, type Log } from '../log.js'
import { formatPosition } from '../ltx/names.js'
import type { HeldSnapshot } from '../replication/source.js'
import { databaseName, RequestError, sendJson } from './answers.js'
import { departureOf } from './departure.js'
import type { NodeView } from './node-view.js'

/** Exports at once: less than there may be snapshots (local-source.ts), so that clients that read slowly, or not at all, leave some to replicas. */
const MAX_EXPORTS = 2

/** GET /export and POST /import: whole databases as SQLite files. */
export function addTransfer(app: FastifyInstance, view: NodeView, log: Log): void {
  const exports = new Exports()
  app.get('/export', async (request, reply) => {
    const name = databaseName(request.query)
    const gone = departureOf(reply)
    const held = await exports.begin(() => view.source.snapshot(name))
    if (held !== undefined && gone.aborted) {
      held.release()
      throw new RequestError(400, `Cannot export ${name}: the reader has gone`)
    }
    if (held === undefined) throw new RequestError(404, `Cannot export ${name}: there is no such database`)
    const { pageSize, pageCount, position } = held.pages
    const content = contentOf(held, view.snapshotTimeoutMs)
    content.on('error', (error) => log.error(`export of ${name} to ${request.ip} is cut: ${describeError(error)}`))
    gone.addEventListener('abort', () => content.destroy())
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

/** Those under way, and those that wait for their end. */
class Exports {
  #free = MAX_EXPORTS
  readonly #waiting: (() => void)[] = []

  /** Takes a snapshot when its turn has come, which lasts until that is released, or there is none. */
  async begin(take: () => Promise<HeldSnapshot | undefined>): Promise<HeldSnapshot | undefined> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      const held = await take()
      if (held === undefined) this.#end()
      return held && { pages: held.pages, release: () => this.#release(held) }
    } catch (error) {
      this.#end()
      throw error
    }
  }

  #release(held: HeldSnapshot): void {
    held.release()
    this.#end()
  }

  #end(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}

/**
 * The file that the pages make; releases them when it is closed. It fails where nobody reads on for `stallMs` milliseconds, 0 for ever: few snapshots
 * are kept at once, and replicas and the backup wait for theirs.
 */
function contentOf(held: HeldSnapshot, stallMs: number): Readable {
  const content: Readable = Readable.from(
    fileOf(held, () => stall?.refresh()),
    { objectMode: false, highWaterMark: 1 << 20 },
  )
  const message = `its reader took nothing for ${stallMs / 1000} s (http.snapshot-timeout)`
  const stall = stallMs === 0 ? undefined : setTimeout(() => content.destroy(new Error(message)), stallMs)
  // Also where the stream is destroyed before anybody reads from it.
  return content.on('close', () => {
    clearTimeout(stall)
    held.release()
  })
}

async function* fileOf(held: HeldSnapshot, onRead: () => void): AsyncGenerator<Buffer, void> {
  for await (const { bytes } of readFrozenPages(held.pages)) {
    onRead()
    // A copy: the stream keeps what it was given until it is sent.
    yield Buffer.from(bytes)
  }
}
