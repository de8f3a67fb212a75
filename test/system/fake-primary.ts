// A primary that lies: it answers each request for the stream with the same bytes.
import http2 from 'node:http2'
import type { Test } from 'tap'
import { decodePositionMap, type PositionMap } from '../../src/replication/position-map.js'

export interface FakePrimary {
  /** Streams that were asked for. */
  readonly asked: number
  /** Streams whose connection the replica has closed. */
  readonly closed: number
  stop(): Promise<void>
}

/** Listens at a port of 127.0.0.1. `answer` makes a stream's bytes of what the replica says it has; nothing ends the stream. */
export async function startFakePrimary(
  t: Test,
  port: number,
  answer: (positions: PositionMap) => Iterable<Buffer>,
): Promise<FakePrimary> {
  const server = http2.createServer()
  const sessions = new Set<http2.ServerHttp2Session>()
  const seen = { asked: 0, closed: 0 }
  server.on('session', (session) => {
    sessions.add(session)
    session.on('error', () => {}) // the replica hangs up
  })
  server.on('stream', (stream) => {
    seen.asked++
    stream.on('error', () => {})
    stream.session?.on('close', () => seen.closed++)
    void respond(stream, answer)
  })
  const stop = async () => {
    for (const session of sessions) session.destroy()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }
  t.teardown(stop)
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    get asked() {
      return seen.asked
    },
    get closed() {
      return seen.closed
    },
    stop,
  }
}

async function respond(
  stream: http2.ServerHttp2Stream,
  answer: (positions: PositionMap) => Iterable<Buffer>,
): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  stream.respond({ ':status': 200 })
  for (const bytes of answer(decodePositionMap(Buffer.concat(chunks)))) {
    if (stream.destroyed) return
    if (!stream.write(bytes)) await new Promise((resolve) => stream.once('drain', resolve).once('close', resolve))
  }
}
