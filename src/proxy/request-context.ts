import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { ReplayableBody } from './replayable-body.js'
import { originForm } from './rules.js'

/** Bytes of a body that are kept to be sent again to another primary. */
const REPLAY_BYTES = 1 << 20

/** What is known of a request beside its bytes. */
export interface Arrival {
  /** Its client sends the body when it is asked to. */
  readonly expectsContinue: boolean
  /** Proxies of other nodes that have handed it on. */
  readonly hops: number
  /** Requests that are being served. */
  readonly open: Set<RequestContext>
}

/** A request that is being served, with what is found out about it once. */
export class RequestContext {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly method: string
  /** Origin form. */
  readonly target: string
  /** Of the client, or of the proxy before this one. */
  readonly address: string
  readonly protocol: 'http' | 'https'
  /** Proxies of other nodes that have handed it on. */
  readonly hops: number
  readonly #open: Set<RequestContext>
  /** Made for those who have to wait. */
  #gone: AbortController | undefined
  #isGone = false
  readonly #onClose = () => {
    if (!this.response.writableFinished) this.abort()
  }
  readonly #body: ReplayableBody | undefined

  private constructor(
    request: IncomingMessage,
    response: ServerResponse,
    target: string,
    { expectsContinue, hops, open }: Arrival,
  ) {
    const { method = '', headers, socket } = request
    this.request = request
    this.response = response
    this.method = method
    this.target = target
    this.address = socket.remoteAddress ?? ''
    this.protocol = 'encrypted' in socket ? 'https' : 'http'
    this.hops = hops
    this.#open = open
    open.add(this)
    response.once('close', this.#onClose)
    const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
    if (!hasBody) return
    this.#body = new ReplayableBody(request, REPLAY_BYTES, () => {
      if (expectsContinue) response.writeContinue()
    })
    // A client that waits to be asked for its body may or may not send it after another answer: what follows would be unclear.
    if (expectsContinue) response.shouldKeepAlive = false
  }

  /** Undefined where the request is none that can be passed on without two opinions about it. */
  static of(request: IncomingMessage, response: ServerResponse, arrival: Arrival): RequestContext | undefined {
    const { url = '', rawHeaders, headers } = request
    const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host')
    const target = originForm(url, headers.host)
    const encoding = headers['transfer-encoding']
    if (hosts.length > 1 || target === undefined) return undefined
    if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') return undefined
    return new RequestContext(request, response, target, arrival)
  }

  /** Aborted when the client has gone, until `release`, or by `abort`. */
  get signal(): AbortSignal {
    this.#gone ??= new AbortController()
    if (this.#isGone) this.#gone.abort()
    return this.#gone.signal
  }

  /** Whether `signal` is aborted. */
  get isGone(): boolean {
    return this.#isGone
  }

  /** Nothing more is to be done for it. */
  abort(): void {
    this.#isGone = true
    this.#gone?.abort()
  }

  /** The request has had its answer, or has been handed over. */
  release(): void {
    this.#open.delete(this)
    this.response.off('close', this.#onClose)
  }

  get hasBody(): boolean {
    return this.#body !== undefined
  }

  /** Whether it can be sent again although it may have arrived. */
  get isSafe(): boolean {
    return (this.method === 'GET' || this.method === 'HEAD') && !this.hasBody
  }

  /** Whether it can be sent again if it has not been processed. */
  get replayable(): boolean {
    return this.#body?.replayable !== false
  }

  /** From its beginning. */
  body(): Readable | null {
    if (this.#body === undefined) return null
    const body = Readable.from(this.#body.read(), { objectMode: false })
    // Whoever sends it tells of that in its outcome.
    return body.on('error', () => {})
  }
}
