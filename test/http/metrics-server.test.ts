import net from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { openMetricsServer } from '../../src/http/metrics-server.js'

t.test('whatever is asked for is answered', async (t) => {
  const { url, close } = await openMetricsServer('127.0.0.1:0', () => [])
  t.teardown(close)
  for (const [target, status] of [
    ['/metrics', 200],
    ['/health?a=b', 200],
    ['//', 404],
    ['/\\', 404],
    ['*', 404],
    ['http://:a', 404],
  ] as const) {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    t.match(await text(socket), new RegExp(`^HTTP/1.1 ${status} `), target)
  }
})
