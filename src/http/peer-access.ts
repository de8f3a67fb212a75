import type { Agent, Client, Dispatcher, H2CClient } from 'undici'

/** PEM texts. */
export interface TlsMaterial {
  /** Whom to trust; undefined for those that Node trusts. */
  readonly ca: string | undefined
  /** Shown to a server that asks. */
  readonly cert: string | undefined
  readonly key: string | undefined
}

export interface Timeouts {
  readonly connectMs: number
  readonly headersMs: number
}

/**
 * Bytes that a peer may send before it must have heard that they were read, of a stream and of all streams of a connection. Between regions an
 * answer takes 100 ms and more, and that many bytes come in that time at most: with undici's 256 KiB a snapshot would come at 2.5 MB/s.
 */
const WINDOW_BYTES = 8 << 20

/**
 * How this process calls nodes: with the cluster's token, and over TLS where their address begins with https. undici comes with the first
 * call: a node that follows nobody would keep its 8 MB for nothing.
 */
export class PeerAccess {
  /** For requests that `http2` clients make. */
  readonly headers: Readonly<Record<string, string>>
  readonly #connect: { ca?: string; cert?: string; key?: string }
  #agent: Agent | undefined

  constructor({ token, tls }: { readonly token: string | undefined; readonly tls: TlsMaterial | undefined }) {
    const { ca, cert, key } = tls ?? {}
    this.headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    this.#connect = {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    }
  }

  /** A request over HTTP/1.1, with undici's errors. */
  async request(
    url: URL,
    options: Omit<Dispatcher.RequestOptions, 'origin' | 'path' | 'headers'> & { headers?: Record<string, string> },
  ): Promise<Dispatcher.ResponseData> {
    const headers = { ...options.headers, ...this.headers }
    const { Agent } = await import('undici')
    this.#agent ??= new Agent({ connect: this.#connect })
    return await this.#agent.request({ ...options, origin: url.origin, path: url.pathname + url.search, headers })
  }

  /** A connection of its own that speaks HTTP/2: with prior knowledge in clear text, negotiated over TLS. Whoever asks for it ends it. */
  async http2(origin: string, { connectMs, headersMs }: Timeouts): Promise<Client | H2CClient> {
    const { Client, H2CClient } = await import('undici')
    // The body's clock would go on while nobody reads, because a transaction takes long to apply.
    const timeouts = { bodyTimeout: 0, headersTimeout: headersMs }
    const options = { ...timeouts, initialWindowSize: WINDOW_BYTES, connectionWindowSize: WINDOW_BYTES }
    if (!origin.startsWith('https:')) return new H2CClient(origin, { ...options, connect: { timeout: connectMs } })
    return new Client(origin, { ...options, allowH2: true, connect: { ...this.#connect, timeout: connectMs } })
  }

  async close(): Promise<void> {
    await this.#agent?.destroy()
  }
}
