import { setTimeout as delay } from 'node:timers/promises'
import { type Dispatcher, Pool } from 'undici'

/** Time to establish a connection, milliseconds, as LiteFS' dialer has it. */
const CONNECT_MS = 30_000
/** Bytes of the headers of an answer, as of a request. */
export const MAX_HEADER_BYTES = 64 << 10

/** Kept connections to where requests are sent: the application, and the proxies of nodes that are or were the primary. */
export class Origins {
  readonly #pools = new Map<string, Pool>()

  /** `url` is an origin; only scheme, host and port count. */
  pool(url: string): Dispatcher {
    const { origin } = new URL(url)
    const known = this.#pools.get(origin)
    if (known !== undefined) return known
    const pool = new Pool(origin, {
      // An answer may take as long as it takes, and an event stream may be silent; the client decides.
      headersTimeout: 0,
      bodyTimeout: 0,
      connectTimeout: CONNECT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      pipelining: 1,
    })
    this.#pools.set(origin, pool)
    return pool
  }

  /** Cuts every connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
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
