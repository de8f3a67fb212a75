import type http from 'node:http'
import type { Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'

/** PEM texts: who this node is, and whose certificates other nodes show. */
export interface ProxyTls {
  readonly cert: string
  readonly key: string
  /** Undefined for the authorities that Node trusts. */
  readonly ca: string | undefined
  /** Ask for a certificate. Users have none and are served all the same. */
  readonly clientAuth: boolean
}

/** What each TLS connection begins with: a record of the type handshake (RFC 8446, 5.1). No HTTP request does. */
const HANDSHAKE = 0x16

/**
 * Has a server take TLS connections too, told apart by their first byte, which may take `firstByteMs` milliseconds, 0 for ever, and the
 * handshake as long. Gives a function that cuts those that the server has not taken yet. Throws where certificate or key are none.
 */
export function takeTls(server: http.Server, { cert, key, ca, clientAuth }: ProxyTls, firstByteMs: number): () => void {
  const toHttp = server.listeners('connection')
  const serve = (socket: Socket) => {
    for (const listener of toHttp) Reflect.apply(listener, server, [socket])
  }
  const secure = secureServer({
    cert,
    key,
    ...(ca !== undefined && { ca }),
    requestCert: clientAuth,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...(firstByteMs > 0 && { handshakeTimeout: firstByteMs }),
  })
  const undecided = new Set<Socket>()
  secure.on('secureConnection', (socket: TLSSocket) => serve(socket))
  // Who cannot shake hands hears it from TLS; the connection is closed.
  secure.on('tlsClientError', (_, socket) => socket.destroy())
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    undecided.add(socket)
    socket.once('close', () => undecided.delete(socket))
    sniff(socket, firstByteMs, (first) => {
      if (first === HANDSHAKE) {
        secure.emit('connection', socket)
        return
      }
      undecided.delete(socket)
      serve(socket)
      socket.resume()
    })
  })
  return () => {
    for (const socket of undecided) socket.destroy()
  }
}

function secureServer(options: tls.TlsOptions): tls.Server {
  try {
    return tls.createServer(options)
  } catch (cause) {
    throw new Error('Cannot use the certificate and key of http.tls for the proxy', { cause })
  }
}

/** Gives the first byte, which stays to be read. Not called where the connection ends before. */
function sniff(socket: Socket, timeoutMs: number, done: (first: number | undefined) => void): void {
  const timer = timeoutMs === 0 ? undefined : setTimeout(() => socket.destroy(), timeoutMs)
  const onData = (chunk: Buffer) => {
    clearTimeout(timer)
    socket.off('end', onEnd)
    socket.off('error', onEnd)
    socket.pause()
    socket.unshift(chunk)
    done(chunk[0])
  }
  const onEnd = () => socket.destroy()
  socket.once('data', onData)
  socket.once('end', onEnd)
  socket.once('error', onEnd)
  socket.once('close', () => clearTimeout(timer))
}
