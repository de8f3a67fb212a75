import { PassThrough } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { formatTxid } from '../ltx/names.js'
import type { Transaction } from '../replication/recent.js'
import { RequestError } from './answers.js'
import { departureOf } from './departure.js'
import type { NodeView } from './node-view.js'

/** Events that a reader may be behind before it is dropped, as in LiteFS. */
const MAX_WAITING = 1024

/** GET /events: one JSON object a line, first the role, then each transaction and each change of the primary. */
export function addEvents(app: FastifyInstance, view: NodeView, signal: AbortSignal): void {
  app.get('/events', async (_request, reply) => {
    const gone = departureOf(reply)
    const release = await view.source.follow()
    if (gone.aborted) {
      release()
      throw new RequestError(400, 'Cannot send events: the reader has gone')
    }
    const feed = new EventFeed()
    const unsubscribe = view.source.subscribe((name, transaction) => feed.push(transactionEvent(name, transaction)))
    const roleData = () => {
      const { isPrimary, primaryHostname: hostname } = view.role()
      // As LiteFS: the primary has no primary to name.
      return { isPrimary, ...(!isPrimary && hostname !== undefined && { hostname }) }
    }
    const unlisten = view.roles.onPrimaryChange(() => feed.push({ type: 'primaryChange', data: roleData() }))
    const onAbort = () => feed.output.end()
    signal.addEventListener('abort', onAbort)
    feed.output.on('close', () => {
      unsubscribe()
      unlisten()
      release()
      signal.removeEventListener('abort', onAbort)
    })
    gone.addEventListener('abort', () => feed.output.destroy())
    feed.push({ type: 'init', data: roleData() })
    return reply.type('application/json').send(feed.output)
  })
}

/** Counts the events that a reader has not taken. */
class EventFeed {
  readonly output = new PassThrough({ highWaterMark: 64 << 10 })
  readonly #waiting: string[] = []
  #blocked = false

  constructor() {
    this.output.on('drain', () => this.#drain())
  }

  push(event: object): void {
    if (this.output.destroyed || this.output.writableEnded) return
    this.#waiting.push(`${JSON.stringify(event)}\n`)
    if (this.#waiting.length > MAX_WAITING) {
      const message = `Cannot send events: the reader is more than ${MAX_WAITING} behind`
      this.output.destroy(new Error(message))
      return
    }
    if (!this.#blocked) this.#drain()
  }

  #drain(): void {
    this.#blocked = false
    while (!this.#blocked) {
      const line = this.#waiting.shift()
      if (line === undefined) return
      this.#blocked = !this.output.write(line)
    }
  }
}

function transactionEvent(db: string, { after, pageSize, commit, timestampMs }: Transaction): object {
  return {
    type: 'tx',
    db,
    data: {
      txID: formatTxid(after.txid),
      postApplyChecksum: formatTxid(after.checksum),
      pageSize,
      commit,
      timestamp: new Date(timestampMs).toISOString(),
    },
  }
}
