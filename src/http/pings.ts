import type { ServerHttp2Session } from 'node:http2'

/** How often a peer is asked whether it is there, milliseconds. */
const PING_MS = 2000
/** A peer that leaves so many of these intervals unanswered is gone. */
const MAX_UNANSWERED = 3

/**
 * Destroys a session whose peer does not answer any more: TCP alone would keep what waits to be sent to it for a quarter of an hour. A peer
 * that answers but does not read stays.
 */
export function destroyWhenDead(session: ServerHttp2Session): void {
  let unanswered = 0
  const timer = setInterval(() => {
    if (unanswered++ > 0) {
      if (unanswered > MAX_UNANSWERED) session.destroy(new Error('Cannot reach the peer: it answers no pings'))
      return
    }
    session.ping((error) => {
      // A session that has ended meanwhile says so itself.
      if (error === null) unanswered = 0
    })
  }, PING_MS)
  session.on('close', () => clearInterval(timer))
}
