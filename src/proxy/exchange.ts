import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { inPairs } from './headers.js'

export interface OutgoingRequest {
  readonly method: string
  /** Origin form. */
  readonly path: string
  readonly headers: string[]
  readonly body: Readable | null
}

/**
 * Looks at the beginning of an answer before the client gets it, and gives the headers to send; undefined to drop the answer. `headers` are
 * names and values in turn.
 */
export type Accept = (status: number, headers: string[]) => string[] | undefined | Promise<string[] | undefined>

/** Pieces of a body that are cheaper to copy than to send beside others. */
const SMALL_BYTES = 16 << 10

/** Links of a header of hints, which may hold several (RFC 8288, 3), and those that node:http takes: it throws at others. */
const LINK = /<[^<>]*>(?:"[^"]*"|[^",])*/g
const SENDABLE_LINK = /^<[^>]*>(?:\s*;\s*[^;"\s]+(?:=(")?[^;"\s]*\1)?)*$/

/** How an exchange ended. */
export type Outcome =
  /** The client has the answer, or as much of it as there was. */
  | { readonly kind: 'relayed'; readonly status: number }
  /** `accept` did not want it. */
  | { readonly kind: 'dropped' }
  /** There was no connection, so nothing was sent. */
  | { readonly kind: 'unreached'; readonly error: Error }
  /** It was sent, or a part of it, and there is no answer. */
  | { readonly kind: 'failed'; readonly error: Error }
  /** The client has gone. */
  | { readonly kind: 'gone' }

/** Sends a request and relays its answer as it comes. Never rejects. */
export function exchange(
  dispatcher: Dispatcher,
  request: OutgoingRequest,
  response: ServerResponse,
  accept: Accept,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const relay = new Relay(response, accept, resolve)
    try {
      dispatcher.dispatch({ ...request, method: request.method as Dispatcher.HttpMethod }, relay)
    } catch (error) {
      relay.settle({ kind: 'failed', error: error as Error })
    }
  })
}

class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #accept: Accept
  readonly #resolve: (outcome: Outcome) => void
  readonly #onClose = () => this.#gone()
  readonly #onDrain = () => this.#controller?.resume()
  #controller: Dispatcher.DispatchController | undefined
  #beginning: Promise<void> | undefined
  #status = 0
  #begun = false
  #written = false
  #settled = false

  constructor(response: ServerResponse, accept: Accept, resolve: (outcome: Outcome) => void) {
    this.#response = response
    this.#accept = accept
    this.#resolve = resolve
    response.on('close', this.#onClose)
    response.on('drain', this.#onDrain)
  }

  settle(outcome: Outcome): void {
    if (this.#settled) return
    this.#settled = true
    this.#response.off('close', this.#onClose)
    this.#response.off('drain', this.#onDrain)
    this.#resolve(outcome)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#settled || this.#response.destroyed) controller.abort(new Error('the client has gone'))
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _: object, message?: string): void {
    const headers = toText(controller.rawHeaders)
    if (status < 200) {
      if (status === 103) this.#earlyHints(headers)
      return
    }
    const accepted = this.#accept(status, headers)
    if (!(accepted instanceof Promise)) {
      this.#begin(controller, status, message, accepted)
      return
    }
    controller.pause()
    this.#beginning = accepted.then(
      (known) => {
        this.#begin(controller, status, message, known)
        controller.resume()
      },
      (error: Error) => this.#fail(controller, error),
    )
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#written = true
    const { length } = chunk
    // As a string it goes out with the headers in one piece; in two, that is an eighth of the proxy's time for a small answer.
    const isTaken =
      length <= SMALL_BYTES ? this.#response.write(chunk.toString('latin1'), 'latin1') : this.#response.write(chunk)
    if (!isTaken) controller.pause()
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    // The answer to a HEAD ends whether it is paused or not.
    if (this.#beginning !== undefined && !this.#begun) void this.#beginning.then(() => this.#end(controller))
    else this.#end(controller)
  }

  onResponseError(_: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#begun) {
      // So that the client sees that something is missing.
      this.#response.destroy()
      this.settle({ kind: 'relayed', status: this.#status })
    } else this.settle({ kind: this.#controller === undefined ? 'unreached' : 'failed', error })
  }

  #begin(
    controller: Dispatcher.DispatchController,
    status: number,
    message: string | undefined,
    headers: string[] | undefined,
  ): void {
    if (this.#settled) return
    if (headers === undefined) {
      this.settle({ kind: 'dropped' })
      controller.abort(new Error('the answer is not wanted'))
      return
    }
    try {
      this.#response.writeHead(status, plain(message), headers)
    } catch (error) {
      this.#fail(controller, error as Error)
      return
    }
    this.#begun = true
    this.#status = status
    // What has come with the headers is sent with them; where nothing has, they do not wait for it.
    queueMicrotask(() => {
      if (!this.#written && !this.#response.writableEnded && !this.#response.destroyed) this.#response.flushHeaders()
    })
  }

  #end({ rawTrailers }: Dispatcher.DispatchController): void {
    if (this.#settled || !this.#begun) return
    const trailers = toText(rawTrailers)
    if (trailers.length > 0 && this.#response.chunkedEncoding) this.#response.addTrailers(inPairs(trailers))
    this.#response.end()
    this.settle({ kind: 'relayed', status: this.#status })
  }

  #fail(controller: Dispatcher.DispatchController, error: Error): void {
    this.settle({ kind: 'failed', error })
    controller.abort(error)
  }

  #gone(): void {
    this.settle({ kind: 'gone' })
    this.#controller?.abort(new Error('the client has gone'))
  }

  #earlyHints(headers: string[]): void {
    const values = headers.filter((_, index) => index % 2 === 1 && headers[index - 1]?.toLowerCase() === 'link')
    const links = values.flatMap((value) => value.match(LINK) ?? []).map((value) => value.trim())
    const link = links.filter((value) => SENDABLE_LINK.test(value))
    const { headersSent, req } = this.#response
    // HTTP/1.0 has no answers before the answer.
    if (link.length > 0 && !headersSent && req.httpVersion !== '1.0') this.#response.writeEarlyHints({ link })
  }
}

function toText(raw: Dispatcher.DispatchController['rawHeaders']): string[] {
  return Array.isArray(raw) ? raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1'))) : []
}

/** What comes with the status; undici has it as UTF-8, which it need not be, and nobody needs it. */
function plain(message: string | undefined): string | undefined {
  return message !== undefined && /^[\t\x20-\x7e]*$/.test(message) ? message : undefined
}
