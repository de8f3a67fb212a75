// One port that speaks HTTP/1.1 and HTTP/2 in clear text, as LiteFS 0.5's node API does.
import http from 'node:http'
import http2 from 'node:http2'
import net, { type Socket } from 'node:net'

/** What HTTP/2's first bytes are (RFC 9113, 3.4). */
const PREFACE = 'PRI'

export interface FakeRequest {
  readonly method: string
  /** With query. */
  readonly url: URL
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
}

export interface FakeAnswer {
  readonly status?: number
  readonly text?: string
  /** Sent until it ends; only over HTTP/2. */
  readonly stream?: AsyncIterable<Buffer>
}

export type FakeHandler = (request: FakeRequest) => Promise<FakeAnswer>

export interface FakeServer {
  /** Cuts all connections. */
  close(): Promise<void>
}

/** Listens at a port of 127.0.0.1. Every answer has the headers that `headers` gives. */
export async function startFakeServer(
  port: number,
  headers: () => Record<string, string>,
  handler: FakeHandler,
): Promise<FakeServer> {
  const handle = async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const url = new URL(request.url ?? '/', 'http://peer')
    // Go's server refuses the same.
    const isTooOld = url.pathname === '/stream' && request.httpVersionMajor < 2
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const asked = { method: request.method ?? '', url, headers: request.headers, body: Buffer.concat(chunks) }
    const { status = 200, text = '', stream } = isTooOld ? { status: 426 } : await handler(asked)
    response.writeHead(status, headers())
    if (stream === undefined) response.end(text)
    else await send(stream, response)
  }
  const listener = (request: http.IncomingMessage, response: http.ServerResponse) => {
    response.on('error', () => {}) // the other side hangs up
    handle(request, response).catch((error: Error) => {
      if (response.destroyed) return
      if (!response.headersSent) response.writeHead(500, headers())
      response.end(error.message)
    })
  }
  const http1 = http.createServer(listener)
  // Node's compatibility layer gives HTTP/2 requests the shape of HTTP/1 ones; its types do not say so.
  const asHttp2 = listener as (request: object, response: object) => void
  const h2 = http2.createServer({}, (request, response) => asHttp2(request, response))
  h2.on('session', (session) => session.on('error', () => {}))
  const sockets = new Set<Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    socket.once('data', (first) => {
      socket.pause()
      socket.unshift(first)
      const isHttp2 = first.subarray(0, PREFACE.length).toString() === PREFACE
      ;(isHttp2 ? h2 : http1).emit('connection', socket)
      if (!isHttp2) socket.resume()
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

async function send(stream: AsyncIterable<Buffer>, response: http.ServerResponse): Promise<void> {
  response.flushHeaders()
  for await (const bytes of stream) {
    if (response.destroyed) return
    if (!response.write(bytes)) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve))
  }
  response.end()
}
