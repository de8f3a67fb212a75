import { readTls, readToken } from './config/access.js'
import type { Config } from './config/schema.js'
import { isLoopback, parseAddress } from './http/address.js'
import type { PeerAccess, TlsMaterial } from './http/peer-access.js'
import type { ServerAccess } from './http/server.js'

/** The secrets of a node: who may call it, and how it calls others. */
export interface NodeAccess {
  readonly server: ServerAccess
  /** How this node calls others over TLS. */
  readonly tls: TlsMaterial | undefined
  /** Made when it is needed: it brings an HTTP client. */
  peers(): Promise<PeerAccess>
  close(): Promise<void>
}

/** Reads the files that `http.token-file` and `http.tls` name. Throws when one cannot be read. */
export function nodeAccess({ http }: Config, env: NodeJS.ProcessEnv): NodeAccess {
  const token = readToken(http, env)
  const files = readTls(http.tls, 'http.tls.')
  const { ca, cert, key } = files ?? {}
  const isServer = cert !== undefined && key !== undefined
  let peers: Promise<PeerAccess> | undefined
  return {
    server: {
      token,
      protectMetrics: http['protect-metrics'],
      tls: isServer ? { cert, key, ca, clientAuth: http.tls['client-auth'] } : undefined,
    },
    tls: files,
    peers: () => {
      peers ??= import('./http/peer-access.js').then(({ PeerAccess }) => new PeerAccess({ token, tls: files }))
      return peers
    },
    close: async () => await (await peers)?.close(),
  }
}

/** What anybody on the network can do with this node; undefined when that is nothing. */
export function exposure(addr: string, { token, tls }: ServerAccess): string | undefined {
  if (isLoopback(parseAddress(addr))) return undefined
  const isKnown = token !== undefined || tls?.clientAuth === true
  const others = 'or http.addr to a private address, or to 127.0.0.1 where no other node needs it'
  if (!isKnown) {
    const advice = `set http.token on all nodes, or http.tls with client-auth, ${others}`
    return `http.addr "${addr}": whoever reaches it can read and replace every database, without a password; ${advice}`
  }
  if (tls !== undefined) return undefined
  const advice = `set http.tls on all nodes, ${others}`
  return `http.addr "${addr}": the token and all data cross the network in clear text, for everybody on the way to read; ${advice}`
}
