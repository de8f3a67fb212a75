import { once } from 'node:events'
import http from 'node:http'
import { Registry } from 'prom-client'
import { parseAddress } from './address.js'
import { BackupMetrics } from './backup-metrics.js'
import type { BackupView } from './node-view.js'
import type { ListenAddress } from './server.js'

/**
 * Serves GET /metrics, and GET /health: 503 with what is wrong while a backup fails. Resolves to where it listens, and how it ends. Rejects where `addr`
 * is no address, or taken.
 */
export async function openMetricsServer(
  addr: string,
  backups: () => readonly BackupView[],
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const { host, port } = addressOf(addr)
  const registry = new Registry()
  const metrics = new BackupMetrics(registry)
  const server = http.createServer((request, response) => {
    const answer = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'content-type': type }).end(body)
    }
    const [pathname] = (request.url ?? '').split('?')
    if (pathname === '/health') {
      const faults = backups().flatMap(({ name, error }) => (error === undefined ? [] : [`${name}: ${error}\n`]))
      answer(faults.length === 0 ? 200 : 503, 'text/plain', faults.join('') || 'OK\n')
    } else if (pathname === '/metrics') {
      metrics.set(backups())
      const sent = registry.metrics().then((text) => answer(200, registry.contentType, text))
      sent.catch((error: unknown) => answer(500, 'text/plain', `${String(error)}\n`))
    } else {
      answer(404, 'text/plain', 'There are /metrics and /health.\n')
    }
  })
  server.listen({ port, host: host === '' ? undefined : host })
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new Error(`Cannot serve metrics at ${addr}`, { cause })
  }
  const bound = server.address()
  const boundPort = typeof bound === 'object' && bound !== null ? bound.port : port
  return {
    url: `http://${host === '' ? 'localhost' : host}:${boundPort}`,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function addressOf(addr: string): ListenAddress {
  try {
    return parseAddress(addr)
  } catch (cause) {
    throw new Error(`Cannot serve metrics at ${addr} (addr)`, { cause })
  }
}
