import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { answer } from './answer.js'
import type { PeerTls } from './origins.js'
import type { Router } from './router.js'
import { openTunnel } from './tunnel.js'

/** Connections that ask for another protocol, such as WebSocket's. */
export class Upgrades {
  readonly #router: Router
  readonly #tls: PeerTls
  readonly #sockets = new Set<Socket>()

  constructor(router: Router, tls: PeerTls) {
    this.#router = router
    this.#tls = tls
  }

  /** Cuts all of them. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Answers the request, or passes on whatever both sides say until one ends. */
  async handle(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    // Whoever waits for it hears of its close.
    socket.on('error', () => {})
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    response.once('finish', () => socket.end())
    const hasBody =
      request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
    // Node leaves the body to whoever takes the connection over, so that it would be the new protocol's beginning.
    if (hasBody) return answer(response, 400, 'Proxy error: a request for another protocol cannot have a body')
    await this.#router.handle(request, response, ({ method, target: path }, url, headers, accept) => {
      const asked = [...headers, 'Connection', 'Upgrade', 'Upgrade', request.headers.upgrade ?? '']
      return openTunnel(url, { method, path, headers: asked, head, tls: this.#tls }, response, socket, accept)
    })
  }
}
