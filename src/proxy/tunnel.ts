import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Accept, Outcome } from './exchange.js'
import { type PeerTls, plainHost } from './origins.js'

export interface UpgradeRequest {
  readonly method: string
  /** Origin form. */
  readonly path: string
  /** Names and values in turn, those of the connection among them. */
  readonly headers: string[]
  /** What the client has sent after its headers. */
  readonly head: Buffer
  /** Where the address begins with https. */
  readonly tls: PeerTls
}

/**
 * Asks whoever is at `url` for another protocol on this connection, and passes on what both sides say from then on until one ends. An
 * answer that is none is relayed. `response` is not sent yet, and on `socket`. Never rejects; resolves when the tunnel is open or the answer sent.
 */
export function openTunnel(
  url: string,
  { method, path, headers, head, tls }: UpgradeRequest,
  response: ServerResponse,
  socket: Duplex,
  accept: Accept,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const { protocol, hostname, port } = new URL(url)
    const host = plainHost(hostname)
    const { request } = protocol === 'https:' ? https : http
    // Otherwise the certificate would have to be that of the host that the client asks for.
    const secured = protocol === 'https:' ? { ...tls, servername: isIP(host) === 0 ? host : '' } : {}
    const upstream = request({ host, port, method, path, headers, agent: false, setHost: false, ...secured })
    let connected = false
    const onClose = () => {
      resolve({ kind: 'gone' })
      upstream.destroy()
    }
    const settle = (outcome: Outcome) => {
      socket.off('close', onClose)
      resolve(outcome)
    }
    socket.once('close', onClose)
    const ready = protocol === 'https:' ? 'secureConnect' : 'connect'
    upstream.once('socket', (target) => target.once(ready, () => (connected = true)))
    upstream.once('error', (error) => settle({ kind: connected ? 'failed' : 'unreached', error }))
    upstream.once('response', (answered) => {
      relay(answered, response, accept).then(settle, (error: Error) => settle({ kind: 'failed', error }))
    })
    upstream.once('upgrade', (answered: IncomingMessage, target: Duplex, first: Buffer) => {
      response.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0])
      socket.write(headOf(answered), 'latin1')
      if (first.length > 0) socket.write(first)
      if (head.length > 0) target.write(head)
      join(socket, target)
      settle({ kind: 'relayed', status: 101 })
    })
    upstream.end()
  })
}

/** An answer in the old protocol; whoever asks for another one with a next request does so on another connection. */
async function relay(answered: IncomingMessage, response: ServerResponse, accept: Accept): Promise<Outcome> {
  const { statusCode: status = 502, statusMessage, rawHeaders } = answered
  const headers = await accept(status, rawHeaders)
  if (headers === undefined) {
    answered.destroy()
    return { kind: 'dropped' }
  }
  response.writeHead(status, statusMessage, headers)
  await pipeline(answered, response)
  return { kind: 'relayed', status }
}

function headOf({ statusCode, statusMessage, rawHeaders }: IncomingMessage): string {
  const lines = rawHeaders.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${rawHeaders[index + 1]}\r\n`] : []))
  return `HTTP/1.1 ${statusCode} ${statusMessage}\r\n${lines.join('')}\r\n`
}

/** Either side may end what it says before the other does. What breaks one side ends both; nobody is left to be told. */
function join(client: Duplex, target: Duplex): void {
  for (const [from, to] of [
    [client, target],
    [target, client],
  ] as const) {
    from.pipe(to)
    from.on('error', () => to.destroy())
    from.on('close', () => to.destroy())
  }
}
