import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ask } from './ask.js'
import type { Accept, Outcome, OutgoingRequest } from './exchange.js'
import { inPairs } from './headers.js'
import type { PeerTls } from './origins.js'

/** What no trailer may say: it comes when the request has been routed, framed and let in (RFC 9110, 6.5.1). */
const NOT_IN_TRAILERS =
  /^(?:connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|content-(?:length|encoding|type|range)|host|expect|max-forwards|range|cache-control|authorization|cookie|if-.*|forwarded|x-forwarded-.*|x-real-ip|litefs-.*)$/i

/** Whether a request says that trailers follow its body. Where it does not they are dropped. */
export function announcesTrailers({ headers }: IncomingMessage): boolean {
  return headers.trailer !== undefined && headers['transfer-encoding'] !== undefined
}

/** Sends a request with the trailers of `source`, which are there when its body has been read. Never rejects. */
export function exchangeWithTrailers(
  url: string,
  { method, path, headers, body }: OutgoingRequest,
  source: IncomingMessage,
  response: ServerResponse,
  accept: Accept,
  tls: PeerTls,
): Promise<Outcome> {
  const question = { method, path, headers: [...headers, ...framing(source)], tls }
  return ask(url, question, response, accept, (upstream) => {
    let isAnswered = false
    upstream.once('response', () => {
      isAnswered = true
    })
    const sent = async () => {
      await pipeline(body ?? Readable.from([]), upstream, { end: false })
      const trailers = allowed(source.rawTrailers)
      if (trailers.length > 0) upstream.addTrailers(trailers)
      upstream.end()
    }
    sent().catch((error: Error) => {
      // An answer may come before the end of the body, and is passed on.
      if (!isAnswered) upstream.destroy(error)
    })
  })
}

function framing({ headers }: IncomingMessage): string[] {
  const names = (headers.trailer ?? '').split(',').map((name) => name.trim())
  const kept = names.filter((name) => name !== '' && !NOT_IN_TRAILERS.test(name))
  return ['Transfer-Encoding', 'chunked', ...(kept.length > 0 ? ['Trailer', kept.join(', ')] : [])]
}

function allowed(raw: readonly string[]): [string, string][] {
  return inPairs(raw).filter(([name]) => !NOT_IN_TRAILERS.test(name))
}
