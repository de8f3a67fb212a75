// A TCP proxy in front of a real server that does what networks and broken servers do.
import { once } from 'node:events'
import net from 'node:net'
import type { Teardown } from './process.js'

/** What happens to requests from now on, on connections that are open too. */
export type Fault =
  | 'none'
  /** Nobody answers. */
  | 'silent'
  /** The connection is cut before the server hears of the request. */
  | 'cut'
  /** The server does what it is asked to, and its answer is lost with the connection. */
  | 'answer-lost'
  /** The same for requests that have this text. */
  | { readonly loseAnswerTo: string }
  /** A connection is cut, once, when so many bytes of answers have come. */
  | { cutAfterBytes: number }
  /** These bytes are the answer. */
  | { readonly answer: string }
  /** Everything takes this long. */
  | { readonly delayMs: number }

export interface FaultyProxy {
  readonly port: number
  fault: Fault
  /** Connections that were opened so far. */
  readonly connectionCount: number
}

export async function startFaultyProxy(t: Teardown, targetPort: number): Promise<FaultyProxy> {
  const sockets = new Set<net.Socket>()
  let connectionCount = 0
  const server = net.createServer((client) => {
    connectionCount++
    const target = net.connect(targetPort, '127.0.0.1')
    for (const socket of [client, target]) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      // The other side hears of it below.
      socket.on('error', () => {})
    }
    client.on('close', () => target.destroy())
    target.on('close', () => client.destroy())
    let isLost = false
    client.on('data', (bytes) => {
      const { fault } = proxy
      // A request may come in pieces.
      isLost ||= typeof fault === 'object' && 'loseAnswerTo' in fault && bytes.includes(fault.loseAnswerTo)
      forward(fault, bytes, client, target)
    })
    target.on('data', (bytes) => {
      const { fault } = proxy
      if (typeof fault === 'object' && 'cutAfterBytes' in fault) {
        fault.cutAfterBytes -= bytes.length
        if (fault.cutAfterBytes < 0) proxy.fault = 'none'
        if (fault.cutAfterBytes < 0) client.destroy()
        else client.write(bytes)
      } else if (fault === 'answer-lost' || isLost) client.destroy()
      else if (typeof fault === 'object' && 'delayMs' in fault) setTimeout(() => client.write(bytes), fault.delayMs)
      else if (fault !== 'silent') client.write(bytes)
    })
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const proxy = {
    port,
    fault: 'none' as Fault,
    get connectionCount() {
      return connectionCount
    },
  }
  return proxy
}

function forward(fault: Fault, bytes: Buffer, client: net.Socket, target: net.Socket): void {
  if (fault === 'silent') return
  if (fault === 'cut') client.destroy()
  else if (typeof fault === 'object' && 'answer' in fault) client.end(fault.answer)
  else target.write(bytes)
}
