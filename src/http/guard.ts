import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance } from 'fastify'

/** What monitoring asks for: it shows names and sizes, and changes nothing. */
const OPEN = /^\/(?:metrics|health(?:\/[^/]+)?|debug\/.*)$/

/** Turns away whoever does not know the token, before anything is read of the request. `protectMetrics`: at /metrics, /health and /debug too. */
export function addGuard(app: FastifyInstance, token: string, protectMetrics: boolean): void {
  const expected = digest(token)
  app.addHook('onRequest', async (request, reply) => {
    if (!protectMetrics && request.method === 'GET' && OPEN.test(request.routeOptions.url ?? '')) return
    const [, given] = /^Bearer +([\x21-\x7e]+) *$/i.exec(request.headers.authorization ?? '') ?? []
    // Digests are of one length and tell nothing: how long the comparison takes does not depend on how much of the token is right.
    if (given !== undefined && timingSafeEqual(digest(given), expected)) return
    const remedy = "set LITEFS_TOKEN, or give -config litefs.yml; on a node, http.token has to be the cluster's"
    const reason = given === undefined ? 'no token was sent' : 'the token is another one'
    await reply
      .code(401)
      .header('www-authenticate', 'Bearer')
      .send({ error: `Cannot let you in: ${reason} (${remedy})` })
  })
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
