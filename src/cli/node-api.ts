import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { PeerAccess } from '../http/peer-access.js'

/** Longest that a node may think before it answers, milliseconds. */
const ANSWER_LIMIT_MS = 60_000
/** Bytes shown of an answer that is an error. */
const MAX_REASON_BYTES = 4096
/** Bytes of an answer that is taken into memory: some 100,000 databases. */
const MAX_JSON_BYTES = 64 << 20

const CONNECTION_REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of the host cannot be looked up',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
  UND_ERR_HEADERS_TIMEOUT: `no answer within ${ANSWER_LIMIT_MS / 1000} s`,
  UND_ERR_SOCKET: 'the connection was closed; is that the API of a litefs node, and does it speak https?',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak https',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it asks for a certificate: give one with -config, or with -cert and -key',
}
/** OpenSSL's words for a certificate that is not trusted. */
const UNTRUSTED = /^(?:SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT_|ERR_TLS_CERT)/
const REMEDY = 'start "litefs mount" there, or give the address that its http.addr says with -url'

/** A node, and what it takes to be let in. */
export interface NodeAddress {
  /** Such as `http://localhost:20202`. */
  readonly url: string
  readonly access: PeerAccess
}

export interface Call extends NodeAddress {
  /** With query, such as `/export?name=my.db`. */
  readonly path: string
  /** For errors: `export my.db`. */
  readonly what: string
  readonly signal?: AbortSignal
}

export interface Upload {
  readonly body: Readable
  readonly size: number
}

export type Answer = Dispatcher.ResponseData

/** Calls a node with GET. Rejects when it cannot be reached, saying what to do, or when it answers with an error, with its words. */
export async function get(call: Call): Promise<Answer> {
  return await accepted(await send(call, { method: 'GET', headersTimeout: ANSWER_LIMIT_MS }), call)
}

/** Has a node do something, with POST. Rejects as `get` does. */
export async function post(call: Call): Promise<void> {
  const { body } = await accepted(await send(call, { method: 'POST', headersTimeout: ANSWER_LIMIT_MS }), call)
  await body.dump()
}

/** Sends a file with POST, and waits for the answer as long as it takes. Rejects as `get` does. */
export async function upload(call: Call, { body, size }: Upload): Promise<Answer> {
  const headers = { 'content-length': String(size), 'content-type': 'application/vnd.sqlite3' }
  return await accepted(await send(call, { method: 'POST', headersTimeout: 0, body, headers }), call)
}

/** A GET that may be answered with one of these statuses beside 200. */
export async function getJson(
  call: Call,
  statuses: readonly number[] = [],
): Promise<{ answer: Answer; json: unknown }> {
  const answer = await send(call, { method: 'GET', headersTimeout: ANSWER_LIMIT_MS })
  if (!statuses.includes(answer.statusCode)) await accepted(answer, call)
  const text = await firstBytes(answer, MAX_JSON_BYTES)
  try {
    return { answer, json: JSON.parse(text) }
  } catch (error) {
    throw new Error(`Cannot ${call.what}: ${call.url}${call.path} is not answered by litefs`, { cause: error })
  }
}

type Options = Pick<Dispatcher.RequestOptions, 'method' | 'headersTimeout' | 'body'> & {
  headers?: Record<string, string>
}

async function send({ url, access, path, what, signal }: Call, options: Options): Promise<Answer> {
  try {
    return await access.request(new URL(path, url), { ...options, ...(signal && { signal }) })
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (UNTRUSTED.test(code)) {
      const remedy = 'give -config, or the authority that signed it with -ca, and in -url a name that it is for'
      throw new Error(`Cannot ${what}: Cannot trust the certificate of ${url} (${remedy})`, { cause: error })
    }
    const reason = CONNECTION_REASONS[code]
    if (reason === undefined) throw error
    throw new Error(`Cannot ${what}: Cannot reach ${url}: ${reason} (${REMEDY})`, { cause: undefined })
  }
}

async function accepted(answer: Answer, { url, what }: Call): Promise<Answer> {
  const { statusCode } = answer
  if (statusCode === 200) return answer
  const text = (await firstBytes(answer, MAX_REASON_BYTES)).trim()
  const reason = reasonIn(text)
  const message = reason.startsWith('Cannot ') ? reason : `Cannot ${what}: ${reason}`
  throw new Error(`${message} (status ${statusCode} of ${url})`)
}

/** Ours answers with JSON, LiteFS with text. */
function reasonIn(text: string): string {
  if (text === '') return 'the node gives no reason'
  if (!text.startsWith('{')) return text
  try {
    const { error }: { error?: unknown } = JSON.parse(text)
    return typeof error === 'string' ? error : text
  } catch (error) {
    if (error instanceof SyntaxError) return text
    throw error
  }
}

async function firstBytes({ body }: Answer, limit: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    const bytes: Buffer = chunk
    chunks.push(bytes.subarray(0, limit - size))
    size += bytes.length
    if (size >= limit) break
  }
  return Buffer.concat(chunks).toString()
}
