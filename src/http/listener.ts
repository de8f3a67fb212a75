import http from 'node:http'
import http2 from 'node:http2'
import type { Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { destroyWhenDead } from './pings.js'

/** What every HTTP/2 client sends first (RFC 9113, 3.4); no HTTP/1 request begins like it. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
/** Time for the first bytes of a connection, milliseconds. */
const FIRST_BYTES_MS = 10_000
/** Time for a peer to read what was sent last, milliseconds. */
const LAST_BYTES_MS = 250
/** Time for the headers of an HTTP/1 request, milliseconds. */
const HEADERS_MS = 10_000
/** Bytes of all headers of a request. */
const MAX_HEADER_BYTES = 16 << 10
/** Streams that one HTTP/2 connection may have open. */
const MAX_STREAMS = 100

/** PEM texts. */
export interface ServerTls {
  readonly cert: string
  readonly key: string
  /** Whose certificates clients show; undefined for the authorities that Node trusts. */
  readonly ca: string | undefined
  /** Whether a client without such a certificate is turned away. */
  readonly clientAuth: boolean
}

/** One listener for HTTP/1.1 and for HTTP/2: told apart by the first bytes in clear text, negotiated over TLS. */
export interface DualServer extends http.Server {
  closeHttp2Sessions(): void
}

/** Serves both protocols with one request handler. With `encryption` it speaks TLS only. Throws where certificate or key are none. */
export function createDualServer(handler: http.RequestListener, encryption: ServerTls | undefined): DualServer {
  const http1 = http.createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: HEADERS_MS, requestTimeout: 0 },
    handler,
  )
  const settings = { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES }
  // Node's compatibility layer gives HTTP/2 requests the shape of HTTP/1 ones; its types do not say so.
  const http2Handler = handler as (request: object, response: object) => void
  const http2Server = http2.createServer({ settings }, (request, response) => http2Handler(request, response))
  const sessions = new Set<http2.ServerHttp2Session>()
  http2Server.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
    // A peer that breaks the protocol loses its connection; there is nobody else to tell.
    session.on('error', () => session.destroy())
    destroyWhenDead(session)
  })

  /** Connections whose protocol is not known yet. */
  const undecided = new Set<Socket>()
  const toHttp1 = http1.listeners('connection')
  const serve = (socket: Socket, isHttp2: boolean) => {
    if (isHttp2) {
      // Otherwise a session whose peer has gone would stay half open for good.
      socket.allowHalfOpen = false
      http2Server.emit('connection', socket)
      return
    }
    for (const listener of toHttp1) Reflect.apply(listener, http1, [socket])
    socket.resume()
  }
  const negotiate = encryption && negotiation(encryption, serve)
  http1.removeAllListeners('connection')
  http1.on('connection', (socket: Socket) => {
    undecided.add(socket)
    socket.setNoDelay(true)
    const decided = () => undecided.delete(socket)
    if (negotiate !== undefined) negotiate(socket, decided)
    else {
      sniff(socket, (isHttp2) => {
        decided()
        if (isHttp2 !== undefined) serve(socket, isHttp2)
      })
    }
  })
  return Object.assign(http1, {
    closeHttp2Sessions: () => {
      for (const socket of undecided) socket.destroy()
      for (const session of sessions) {
        // A peer leaves when it has read the end of its stream. It would lose that if the session ended first.
        const timer = setTimeout(() => session.destroy(), LAST_BYTES_MS)
        session.once('close', () => clearTimeout(timer))
      }
    },
  })
}

/** TLS on a connection: gives what takes it over, and says when it is done with it. */
function negotiation({ cert, key, ca, clientAuth }: ServerTls, serve: (socket: TLSSocket, isHttp2: boolean) => void) {
  const context = { cert, key, ...(ca !== undefined && { ca }) }
  const trust = { requestCert: clientAuth, rejectUnauthorized: clientAuth }
  const options = { ...context, ...trust, ALPNProtocols: ['h2', 'http/1.1'], handshakeTimeout: FIRST_BYTES_MS }
  const server = secureServer(options)
  // What TLS gives does not say which connection it came from.
  const shaking = new Map<string, () => void>()
  const peerOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`
  server.on('secureConnection', (socket) => {
    shaking.get(peerOf(socket))?.()
    serve(socket, socket.alpnProtocol === 'h2')
  })
  // Who cannot shake hands hears it from TLS; the connection is closed.
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  return (socket: Socket, done: () => void) => {
    const peer = peerOf(socket)
    const shaken = () => {
      shaking.delete(peer)
      done()
    }
    shaking.set(peer, shaken)
    socket.once('close', shaken)
    server.emit('connection', socket)
  }
}

function secureServer(options: tls.TlsOptions): tls.Server {
  try {
    return tls.createServer(options)
  } catch (cause) {
    throw new Error('Cannot use the certificate and key of http.tls', { cause })
  }
}

/** Calls `done` once, with undefined when the connection ended before it said anything that decides. */
function sniff(socket: Socket, done: (isHttp2: boolean | undefined) => void): void {
  let head = Buffer.alloc(0)
  const timer = setTimeout(() => socket.destroy(), FIRST_BYTES_MS)
  const finish = (isHttp2: boolean | undefined) => {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('end', onEnd)
    socket.off('close', onClose)
    socket.off('error', onError)
    if (isHttp2 !== undefined) {
      socket.pause()
      socket.unshift(head)
    }
    done(isHttp2)
  }
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk])
    const length = Math.min(head.length, PREFACE.length)
    if (!head.subarray(0, length).equals(PREFACE.subarray(0, length))) finish(false)
    else if (length === PREFACE.length) finish(true)
  }
  const onEnd = () => socket.destroy()
  const onClose = () => finish(undefined)
  const onError = () => socket.destroy()
  socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('close', onClose)
  socket.on('error', onError)
}
