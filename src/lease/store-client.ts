import { Agent, type Dispatcher } from 'undici'
import type { z } from 'zod'

/** Bytes of an answer that is taken. A list of candidates has some hundred bytes for each. */
const MAX_ANSWER_BYTES = 4 << 20
/** Bytes of an answer that an error quotes. */
const MAX_QUOTED = 300

const CONNECTION_REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was cut',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of the host cannot be looked up',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
  UND_ERR_SOCKET: 'the connection was cut',
}

/** PEM texts. */
export interface TlsMaterial {
  /** Whom to trust instead of the system's authorities. */
  readonly ca: string | undefined
  /** Of this node, for a server that asks who it is. */
  readonly cert: string | undefined
  readonly key: string | undefined
}

export interface StoreClientOptions {
  /** For errors: `Consul`. */
  readonly store: string
  /** For errors: `lease.consul.url`. */
  readonly setting: string
  /** Origins, in the order they are tried; the one that answered last comes first. */
  readonly origins: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly tls: TlsMaterial | undefined
  /** For one answer of one server, milliseconds. */
  readonly timeoutMs: number
}

export interface StoreCall {
  /** For errors: `renew the lease`. */
  readonly what: string
  readonly method: 'GET' | 'PUT' | 'POST'
  /** With query. */
  readonly path: string
  /** Sent as it is when it is a text, else as JSON. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** How long the server may wait before it answers, beside the usual time, milliseconds. */
  readonly waitMs?: number
}

export interface StoreAnswer {
  readonly what: string
  readonly origin: string
  readonly status: number
  readonly headers: Dispatcher.ResponseData['headers']
  readonly text: string
}

/** HTTP to the servers of a lease store: the first that answers counts. */
export class StoreClient {
  readonly #options: StoreClientOptions
  readonly #agent: Agent
  #preferred = 0

  constructor(options: StoreClientOptions) {
    this.#options = options
    const { ca, cert, key } = options.tls ?? {}
    this.#agent = new Agent({
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && { cert }),
        ...(key !== undefined && { key }),
      },
    })
  }

  /** Gives an answer of any status below 500. Rejects when no server gives one in time, naming each with its reason. */
  async call(call: StoreCall, signal: AbortSignal): Promise<StoreAnswer> {
    const limitMs = this.#options.timeoutMs + (call.waitMs ?? 0)
    return await this.#first(call.what, signal, async (origin) => {
      const late = new AbortController()
      const timer = setTimeout(() => late.abort(new Error(`no answer within ${Math.round(limitMs)} ms`)), limitMs)
      try {
        const { statusCode, headers, body } = await this.#send(origin, call, AbortSignal.any([signal, late.signal]))
        const text = await textOf(body)
        if (statusCode >= 500) throw new Error(`status ${statusCode}: ${quoted(text)}`)
        return { what: call.what, origin, status: statusCode, headers, text }
      } catch (error) {
        throw late.signal.aborted ? late.signal.reason : error
      } finally {
        clearTimeout(timer)
      }
    })
  }

  /** The lines of an answer that has no end, until the caller leaves the iteration. Rejects when it is cut. */
  async *lines(call: StoreCall, signal: AbortSignal): AsyncGenerator<StoreAnswer, void> {
    const leaving = new AbortController()
    const either = AbortSignal.any([signal, leaving.signal])
    try {
      const opened = await this.#first(call.what, signal, async (origin) => {
        return { origin, ...(await this.#send(origin, call, either)) }
      })
      const { origin, statusCode: status, headers, body } = opened
      let rest = ''
      for await (const chunk of body) {
        const lines = (rest + String(chunk)).split('\n')
        rest = lines.pop() ?? ''
        if (rest.length > MAX_ANSWER_BYTES) throw this.#failure(call.what, origin, 'a line of its answer has no end')
        for (const text of lines) yield { what: call.what, origin, status, headers, text }
      }
      throw this.#failure(call.what, origin, 'it ended its answer')
    } finally {
      leaving.abort()
    }
  }

  /** What an answer holds. Throws when that is not of this shape: something else may be listening there. */
  parse<T>(schema: z.ZodType<T>, answer: StoreAnswer): T {
    let json: unknown
    try {
      json = JSON.parse(answer.text)
    } catch (cause) {
      throw this.#failure(answer.what, answer.origin, `it answers what is no JSON: ${quoted(answer.text)}`, cause)
    }
    const parsed = schema.safeParse(json)
    if (parsed.success) return parsed.data
    const reason = `it answers what ${this.#options.store} would not: ${quoted(answer.text)}`
    throw this.#failure(answer.what, answer.origin, reason, parsed.error)
  }

  /** An error for an answer that refuses the call. */
  refusal({ what, origin, status, text }: StoreAnswer, remedy: string): Error {
    const { store } = this.#options
    return new Error(`Cannot ${what}: ${store} at ${origin} answers ${status}: ${quoted(text)} (${remedy})`)
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  async #first<T>(what: string, signal: AbortSignal, attempt: (origin: string) => Promise<T>): Promise<T> {
    const { origins } = this.#options
    const failures: { origin: string; error: unknown }[] = []
    for (let i = 0; i < origins.length; i++) {
      const index = (this.#preferred + i) % origins.length
      const origin = origins[index] ?? ''
      try {
        const result = await attempt(origin)
        this.#preferred = index
        return result
      } catch (error) {
        signal.throwIfAborted()
        failures.push({ origin, error })
      }
    }
    const [only] = failures
    if (failures.length === 1 && only !== undefined) {
      throw this.#failure(what, only.origin, reasonOf(only.error), only.error)
    }
    const reasons = failures.map(({ origin, error }) => `${origin}: ${reasonOf(error)}`).join('; ')
    const { store, setting } = this.#options
    const message = `Cannot ${what}: no ${store} server answers: ${reasons} (are they running? ${setting} names them)`
    throw new Error(message, {
      cause: new AggregateError(
        failures.map(({ error }) => error),
        reasons,
      ),
    })
  }

  async #send(
    origin: string,
    { method, path, body, headers }: StoreCall,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const isJson = body !== undefined && typeof body !== 'string'
    return await this.#agent.request({
      origin,
      path,
      method,
      headers: { ...this.#options.headers, ...(isJson && { 'content-type': 'application/json' }), ...headers },
      body: isJson ? JSON.stringify(body) : typeof body === 'string' ? body : null,
      signal,
    })
  }

  #failure(what: string, origin: string, reason: string, cause?: unknown): Error {
    const { store, setting } = this.#options
    return new Error(`Cannot ${what}: ${store} at ${origin}: ${reason} (is that where it runs? ${setting} says so)`, {
      cause,
    })
  }
}

async function textOf(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    const bytes: Buffer = chunk
    chunks.push(bytes)
    size += bytes.length
    if (size > MAX_ANSWER_BYTES) throw new Error(`it answers with more than ${MAX_ANSWER_BYTES} bytes`)
  }
  return Buffer.concat(chunks).toString()
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error ? String(error.code) : ''
  return CONNECTION_REASONS[code] ?? error.message
}

function quoted(text: string): string {
  const trimmed = text.trim()
  return JSON.stringify(trimmed.length > MAX_QUOTED ? `${trimmed.slice(0, MAX_QUOTED)}...` : trimmed)
}
