import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import { abortedAfter } from '../aborted-after.js'
import { describeError, type Log } from '../log.js'
import { answer } from './answer.js'
import type { Accept, Outcome } from './exchange.js'
import {
  forwardedHeaders,
  type Handing,
  HOPS_HEADER,
  hasHeader,
  returnedHeaders,
  UNPROCESSED_HEADER,
} from './headers.js'
import type { Decision, ProxyMetrics } from './metrics.js'
import { isRefused, pause } from './origins.js'
import type { Peers } from './peers.js'
import type { PrimaryAddress, ProxiedNode } from './proxied-node.js'
import { RequestContext } from './request-context.js'
import { kindOf, type PathRules, pathOf } from './rules.js'
import { TXID_HEADER, TxidHeaderError, txidCookie, txidHeader, wantedTxids } from './txids.js'

export interface ProxySettings extends PathRules {
  /** Origin of the application. */
  readonly targetUrl: string
  /** Hand writes on to the primary's proxy; otherwise Fly.io is asked to repeat them there. */
  readonly forwards: boolean
  readonly detectWrites: boolean
  readonly debug: boolean
  /** Milliseconds; 0 for any. */
  readonly maxLagMs: number
  readonly primaryRedirectTimeoutMs: number
}

/** Sends a request on to the origin of `url` with these headers, and relays what `accept` takes. Never rejects. */
export type Send = (context: RequestContext, url: string, headers: string[], accept: Accept) => Promise<Outcome>

export interface ProxyParts {
  readonly node: ProxiedNode
  readonly peers: Peers
  readonly metrics: ProxyMetrics
  readonly log: Log
  /** Requests that are being served. */
  readonly open: Set<RequestContext>
}

/** As in LiteFS: how long a read waits for its transaction, how long the application may take to start, and how often it is looked for. */
const READ_WAIT_MS = 5000
const STARTING_MS = 30_000
const RETRY_MS = 100
/** Proxies that hand a request on before it counts as going round in circles: one knows the primary, a second may know a newer one. */
const MAX_HOPS = 3

interface Served {
  readonly context: RequestContext
  readonly send: Send
}

/** Decides for each request where it goes, and takes it there. */
export class Router {
  readonly #settings: ProxySettings
  readonly #parts: ProxyParts
  readonly #node: ProxiedNode
  #shown: { txids: readonly bigint[]; header: string | undefined } = { txids: [], header: undefined }

  constructor(settings: ProxySettings, parts: ProxyParts) {
    this.#settings = settings
    this.#parts = parts
    this.#node = parts.node
  }

  /** Answers a request. `expectsContinue`: its client sends the body when it is asked to. */
  async handle(request: IncomingMessage, response: ServerResponse, send: Send, expectsContinue = false): Promise<void> {
    const role = this.#node.primary() === 'self' ? 'primary' : 'replica'
    const arrival = { expectsContinue, hops: this.#hopsOf(request), open: this.#parts.open }
    const context = RequestContext.of(request, response, arrival)
    const decision = context === undefined ? this.#refuse(response) : await this.#serve({ context, send })
    context?.release()
    this.#parts.metrics.requests.inc({ role, decision })
    if (this.#settings.debug) this.#tell(request, decision, response)
  }

  /** Anybody can write the header; it counts only from another node. */
  #hopsOf(request: IncomingMessage): number {
    const given = request.headers[HOPS_HEADER.toLowerCase()]
    if (given === undefined || !this.#parts.peers.includes(request)) return 0
    const hops = Number(given)
    return Number.isSafeInteger(hops) && hops > 0 ? hops : 0
  }

  #refuse(response: ServerResponse): Decision {
    answer(response, 400, 'Proxy error: the request cannot be passed on', { Connection: 'close' })
    return 'bad-request'
  }

  #serve(served: Served): Promise<Decision> | Decision {
    const { method, target, hops } = served.context
    switch (hops > 0 ? 'write' : kindOf(method, target, this.#settings)) {
      case 'passthrough':
        return this.#toTarget(served, (_, headers) => returnedHeaders(headers), 'passthrough')
      case 'health':
        return this.#health(served.context)
      case 'read':
        return this.#read(served)
      case 'write':
        return this.#write(served)
    }
  }

  #health({ response }: RequestContext): Decision {
    const lagMs = this.#node.lagMs() ?? Number.POSITIVE_INFINITY
    const { maxLagMs } = this.#settings
    if (maxLagMs > 0 && lagMs > maxLagMs) answer(response, 503, 'Replication lag exceeded')
    else answer(response, 200, 'OK')
    return 'health'
  }

  async #read(served: Served): Promise<Decision> {
    const waited = await this.#waitForTxids(served.context)
    if (waited !== undefined) return waited
    const refusedBefore = this.#node.refusedWrites()
    const detects = this.#settings.detectWrites && !served.context.hasBody
    let hasWritten = false
    const accept: Accept = (_, headers) => {
      hasWritten = detects && this.#node.refusedWrites() !== refusedBefore
      return hasWritten ? undefined : this.#withPositions(headers)
    }
    const decision = await this.#toTarget(served, accept, 'read')
    return hasWritten ? await this.#write(served) : decision
  }

  /** Undefined once readers of this node see what the client has seen; otherwise it has been answered. */
  async #waitForTxids(context: RequestContext): Promise<Decision | undefined> {
    const { request, response } = context
    const { cookie } = request.headers
    const header = request.headers['litefs-txid']
    if (cookie === undefined && header === undefined) return undefined
    try {
      const wanted = wantedTxids(cookie, header?.toString(), this.#node.databases)
      const missing = [...wanted].filter(([name, txid]) => this.#node.txid(name) < txid)
      if (missing.length === 0) return undefined
      const begunMs = performance.now()
      const timeout = abortedAfter(READ_WAIT_MS, context.signal)
      const reached = await Promise.all(missing.map(([name, txid]) => this.#node.reached(name, txid, timeout)))
      this.#parts.metrics.wait.observe((performance.now() - begunMs) / 1000)
      if (reached.every(Boolean)) return undefined
      answer(response, 504, 'Proxy timeout')
      return 'timeout'
    } catch (error) {
      if (!(error instanceof TxidHeaderError)) throw error
      answer(response, 400, `Proxy error: ${error.message}`)
      return 'bad-request'
    }
  }

  async #write(served: Served): Promise<Decision> {
    const begunMs = performance.now()
    const deadlineMs = begunMs + this.#settings.primaryRedirectTimeoutMs
    for (;;) {
      const primary = await this.#findPrimary(served.context, deadlineMs)
      if (primary === 'self') {
        const decision = await this.#writeHere(served)
        if (decision === undefined) continue
        return decision
      }
      const answered =
        primary === undefined ? this.#noPrimary(served.context) : this.#notForwarded(served.context, primary)
      if (primary === undefined || answered !== undefined) return answered ?? 'no-primary'
      const decision = await this.#forward(served, primary, deadlineMs)
      if (decision === undefined) continue
      this.#parts.metrics.forward.observe((performance.now() - begunMs) / 1000)
      return decision
    }
  }

  /** Undefined when this node is the primary no more, and the application has not been asked. */
  async #writeHere(served: Served): Promise<Decision | undefined> {
    const end = this.#node.beginWrite()
    if (end === undefined) return undefined
    try {
      const outcome = await this.#askTarget(
        served,
        (_, headers) => this.#withCookie(headers),
        () => this.#node.primary() === 'self',
      )
      return outcome && this.#conclude(served.context, outcome, 'write')
    } finally {
      end()
    }
  }

  /** Whoever may write, as soon as there is somebody; undefined when there is nobody until the deadline. */
  async #findPrimary(context: RequestContext, deadlineMs: number): Promise<'self' | PrimaryAddress | undefined> {
    for (;;) {
      const primary = this.#node.primary()
      const restMs = deadlineMs - performance.now()
      if (primary !== undefined || restMs <= 0 || context.isGone) return primary
      await this.#node.primaryChanged(restMs)
    }
  }

  #noPrimary({ response }: RequestContext, error?: Error): Decision {
    const reason = error === undefined ? '' : `: ${describeError(error)}`
    answer(response, 503, `Proxy error: no primary available${reason}`, { [UNPROCESSED_HEADER]: 'true' })
    return 'no-primary'
  }

  /** Answers a request that another node has to process, where this proxy does not hand it on; undefined where it does. */
  #notForwarded({ response, hops }: RequestContext, primary: PrimaryAddress): Decision | undefined {
    if (!this.#settings.forwards) {
      answer(response, 200, '', { 'fly-replay': `instance=${primary.hostname}` })
      return 'fly-replay'
    }
    if (hops < MAX_HOPS) return undefined
    const text = `Proxy error: ${hops} nodes in turn took another one for the primary`
    answer(response, 508, text, { [UNPROCESSED_HEADER]: 'true' })
    return 'loop'
  }

  /** Undefined when there was no primary, so that the request can be sent again: then some time has passed. */
  async #forward(served: Served, { proxyUrl }: PrimaryAddress, deadlineMs: number): Promise<Decision | undefined> {
    const { context } = served
    const canWait = () => performance.now() < deadlineMs && context.replayable
    const accept: Accept = (_, headers) => {
      if (!hasHeader(headers, UNPROCESSED_HEADER)) return returnedHeaders(headers)
      if (canWait()) return undefined
      return [...returnedHeaders(headers), UNPROCESSED_HEADER, 'true']
    }
    const handing = { hops: context.hops + 1, key: this.#parts.peers.key }
    const outcome = await this.#send(served, proxyUrl, accept, handing)
    if (outcome.kind !== 'dropped' && outcome.kind !== 'unreached') return this.#conclude(context, outcome, 'forward')
    if (canWait() && !context.isGone) {
      await this.#node.primaryChanged(RETRY_MS)
      return undefined
    }
    return this.#noPrimary(context, outcome.kind === 'unreached' ? outcome.error : undefined)
  }

  async #toTarget(served: Served, accept: Accept, decision: Decision): Promise<Decision> {
    const outcome = await this.#askTarget(served, accept, () => true)
    assert(outcome !== undefined)
    return this.#conclude(served.context, outcome, decision)
  }

  /** Sends a request to the application, as soon as that is there; undefined where it was not there until `isOurs` was false. */
  async #askTarget(served: Served, accept: Accept, isOurs: () => boolean): Promise<Outcome | undefined> {
    const { context } = served
    const deadlineMs = performance.now() + STARTING_MS
    for (let retried = false; ; ) {
      const outcome = await this.#send(served, this.#settings.targetUrl, accept)
      if (outcome.kind === 'failed' && !retried && context.isSafe) {
        // It may have closed a kept connection just as the request was on its way.
        retried = true
        continue
      }
      const isStarting = outcome.kind === 'unreached' && isRefused(outcome.error)
      if (!isStarting || performance.now() > deadlineMs || context.isGone) return outcome
      await pause(RETRY_MS, context.signal)
      if (!isOurs()) return undefined
    }
  }

  #send({ context, send }: Served, url: string, accept: Accept, handing?: Handing): Promise<Outcome> {
    return send(context, url, forwardedHeaders(context.request.rawHeaders, context, handing), accept)
  }

  #conclude({ response, isGone }: RequestContext, outcome: Outcome, decision: Decision): Decision {
    if (outcome.kind === 'relayed' || outcome.kind === 'dropped') return decision
    if (outcome.kind === 'gone' || isGone) return 'gone'
    const reason = describeError(outcome.error)
    answer(response, 502, `Proxy error: ${reason}`)
    return 'bad-gateway'
  }

  #withPositions(headers: string[]): string[] {
    const { databases } = this.#node
    const txids = databases.map((name) => this.#node.txid(name))
    // Most reads find what the one before found.
    if (txids.some((txid, index) => txid !== this.#shown.txids[index])) {
      this.#shown = { txids, header: txidHeader(databases, txids) }
    }
    return withTxids(headers, this.#shown.header)
  }

  /** The positions are asked for when the application has answered, so they are not older than what it wrote. */
  async #withCookie(headers: string[]): Promise<string[]> {
    const { databases } = this.#node
    const txids = await this.#node.newestTxids()
    const cookie = txidCookie(databases, txids, Date.now())
    const returned = withTxids(headers, txidHeader(databases, txids))
    if (cookie !== undefined) returned.push('Set-Cookie', cookie)
    return returned
  }

  #tell({ method = '', url = '' }: IncomingMessage, decision: Decision, { statusCode }: ServerResponse): void {
    this.#parts.log.info(`proxy: ${method} ${pathOf(url).slice(0, 200)}: ${decision}, ${statusCode}`)
  }
}

/** Only a proxy says where the node is. */
function withTxids(headers: string[], txids: string | undefined): string[] {
  const returned = returnedHeaders(headers, TXID_HEADER.toLowerCase())
  if (txids !== undefined) returned.push(TXID_HEADER, txids)
  return returned
}
