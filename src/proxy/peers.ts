import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { KEY_HEADER } from './headers.js'

export interface PeerRules {
  /** The cluster's token; undefined where there is none. */
  readonly token: string | undefined
  /** Whether nodes show certificates to each other. */
  readonly clientAuth: boolean
}

/** What the key is made for, so that it is good for nothing else. */
const PURPOSE = 'litefs proxy'

/** Tells requests that another node's proxy hands on from those of users. */
export class Peers {
  /**
   * Sent along with each request to another node's proxy; undefined where there is no token. It is made from the token, which cannot be had back
   * from it: whoever reads a log of headers cannot call the node API.
   */
  readonly key: string | undefined
  readonly #key: Buffer | undefined
  readonly #clientAuth: boolean

  constructor({ token, clientAuth }: PeerRules) {
    this.key = token === undefined ? undefined : createHmac('sha256', token).update(PURPOSE).digest('hex')
    this.#key = this.key === undefined ? undefined : Buffer.from(this.key)
    this.#clientAuth = clientAuth
  }

  /** Whether what a request says of other proxies is to be believed: of everybody, where nodes have nothing to know each other by. */
  includes({ headers, socket }: IncomingMessage): boolean {
    if (this.#clientAuth && (socket as Partial<TLSSocket>).authorized !== true) return false
    if (this.#key === undefined) return true
    const given = Buffer.from(headers[KEY_HEADER.toLowerCase()]?.toString() ?? '', 'latin1')
    return given.length === this.#key.length && timingSafeEqual(given, this.#key)
  }
}
