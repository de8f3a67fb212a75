import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import { isIP } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Accept, Outcome } from './exchange.js'
import { inPairs } from './headers.js'
import { type PeerTls, plainHost } from './origins.js'

export interface Question {
  readonly method: string
  /** Origin form. */
  readonly path: string
  /** Names and values in turn, those of the connection among them. */
  readonly headers: string[]
  /** Where the address begins with https. */
  readonly tls: PeerTls
}

/** Sends what follows the headers; may settle how it ended. */
export type Proceed = (upstream: ClientRequest, settle: (outcome: Outcome) => void) => void

/** Asks whoever is at `url` by node:http, on a connection of its own: for what undici does not do. Relays an answer. Never rejects. */
export function ask(
  url: string,
  question: Question,
  response: ServerResponse,
  accept: Accept,
  proceed: Proceed,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const upstream = open(url, question)
    let isConnected = false
    const onClose = () => {
      resolve({ kind: 'gone' })
      upstream.destroy()
    }
    const settle = (outcome: Outcome) => {
      response.off('close', onClose)
      resolve(outcome)
    }
    response.once('close', onClose)
    const ready = url.startsWith('https:') ? 'secureConnect' : 'connect'
    upstream.once('socket', (target) => target.once(ready, () => (isConnected = true)))
    upstream.on('error', (error) => settle({ kind: isConnected ? 'failed' : 'unreached', error }))
    upstream.once('response', (answered) => {
      const done = (outcome: Outcome) => {
        settle(outcome)
        // Who answers before the end of a body may read no more of it.
        upstream.destroy()
      }
      relay(answered, response, accept).then(done, (error: Error) => done({ kind: 'failed', error }))
    })
    proceed(upstream, settle)
  })
}

function open(url: string, { method, path, headers, tls }: Question): ClientRequest {
  const { protocol, hostname, port } = new URL(url)
  const host = plainHost(hostname)
  const options = { host, port, method, path, headers, agent: false, setHost: false }
  if (protocol !== 'https:') return http.request(options)
  // Otherwise the certificate would have to be that of the host that the client asks for.
  return https.request({ ...options, ...tls, servername: isIP(host) === 0 ? host : '' })
}

async function relay(answered: IncomingMessage, response: ServerResponse, accept: Accept): Promise<Outcome> {
  const { statusCode: status = 502, statusMessage, rawHeaders } = answered
  const headers = await accept(status, rawHeaders)
  if (headers === undefined) {
    answered.destroy()
    return { kind: 'dropped' }
  }
  response.writeHead(status, statusMessage, headers)
  response.flushHeaders()
  await pipeline(answered, response, { end: false })
  if (answered.rawTrailers.length > 0 && response.chunkedEncoding) response.addTrailers(inPairs(answered.rawTrailers))
  response.end()
  return { kind: 'relayed', status }
}
