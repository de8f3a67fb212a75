import { isIP } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { buildConnector, type Dispatcher, Pool } from 'undici'

/** Time to establish a connection, milliseconds, as LiteFS' dialer has it. */
const CONNECT_MS = 30_000
/** Bytes of the headers of an answer, as of a request. */
export const MAX_HEADER_BYTES = 64 << 10

/** For connections to other nodes' proxies over TLS, as PEM texts: whom to trust, and who this node is. */
export interface PeerTls {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** Kept connections to where requests are sent: the application, and the proxies of nodes that are or were the primary. */
export class Origins {
  readonly #pools = new Map<string, Dispatcher>()
  readonly #tls: PeerTls

  constructor(tls: PeerTls) {
    this.#tls = tls
  }

  /** `url` is an origin; only scheme, host and port count. */
  pool(url: string): Dispatcher {
    const known = this.#pools.get(url)
    if (known !== undefined) return known
    const { origin } = new URL(url)
    const pool = new Pool(origin, {
      // An answer may take as long as it takes, and an event stream may be silent; the client decides.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: this.#connector(origin),
      maxHeaderSize: MAX_HEADER_BYTES,
      pipelining: 1,
    })
    const dispatcher = origin.startsWith('https:') ? pool.compose(oneName) : pool
    this.#pools.set(url, dispatcher)
    return dispatcher
  }

  /** The certificate has to be that of the node, not of the host that the client asks for. */
  #connector(origin: string): buildConnector.connector {
    const { hostname } = new URL(origin)
    const connect = buildConnector({ ...this.#tls, timeout: CONNECT_MS, allowH2: false })
    const servername = isIP(plainHost(hostname)) === 0 ? hostname : ''
    return (options, callback) => connect({ ...options, servername }, callback)
  }

  /** Cuts every connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
}

/** A connection is not given up because the next request asks for another host: undici has one for each name in a certificate. */
function oneName(dispatch: Dispatcher.Dispatch): Dispatcher.Dispatch {
  return (options, handler) => {
    const named = { ...options, servername: 'peer' }
    return dispatch(named, handler)
  }
}

/** Of a URL, without the brackets of an IPv6 address. */
export function plainHost(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}

/** Whether nobody listens there, at every address that the name has. */
export function isRefused(error: Error): boolean {
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isRefused)
  return 'code' in error && error.code === 'ECONNREFUSED'
}

/** Resolves after that time or when the signal is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal, ref: false })
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
