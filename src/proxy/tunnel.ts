import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { ask, type Question } from './ask.js'
import type { Accept, Outcome } from './exchange.js'

export interface UpgradeRequest extends Question {
  /** What the client has sent after its headers. */
  readonly head: Buffer
}

/**
 * Asks whoever is at `url` for another protocol on this connection, and passes on what both sides say from then on until one ends. An
 * answer that is none is relayed, and whoever asks for another protocol with a next request does so on another connection. `response` is not
 * sent yet, and on `socket`. Never rejects; resolves when the tunnel is open or the answer sent.
 */
export function openTunnel(
  url: string,
  request: UpgradeRequest,
  response: ServerResponse,
  socket: Duplex,
  accept: Accept,
): Promise<Outcome> {
  return ask(url, request, response, accept, (upstream, settle) => {
    upstream.once('upgrade', (answered: IncomingMessage, target: Duplex, first: Buffer) => {
      settle({ kind: 'relayed', status: 101 })
      response.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0])
      socket.write(headOf(answered), 'latin1')
      if (first.length > 0) socket.write(first)
      if (request.head.length > 0) target.write(request.head)
      join(socket, target)
    })
    upstream.end()
  })
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
