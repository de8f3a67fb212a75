import type { FastifyReply } from 'fastify'

/**
 * Aborted when whoever asked has gone, or has his answer. To be asked for before anything is waited for: an HTTP/2 answer that has been closed tells
 * nobody, and what is sent with it is neither read nor destroyed.
 */
export function departureOf(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  return gone.signal
}
