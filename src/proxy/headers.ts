/** Names and values in turn, as node:http has them: latin1, in the order and spelling of the sender. */
export type RawHeaders = readonly string[]

/** How many proxies of this kind have handed a request on. */
export const HOPS_HEADER = 'Litefs-Proxy-Hops'
/** In the answer of a proxy that has not let the application see the request: it can be sent again. */
export const UNPROCESSED_HEADER = 'Litefs-Unprocessed'

/** They are about one connection (RFC 9110, 7.6.1). Trailers of a request are not passed on. */
const OF_CONNECTION = ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade']
const NOT_FORWARDED = new Set([...OF_CONNECTION, 'expect', 'trailer', 'x-forwarded-for', HOPS_HEADER.toLowerCase()])
const NOT_RETURNED = new Set([...OF_CONNECTION, UNPROCESSED_HEADER.toLowerCase()])
/** No sender can have them dropped by calling them headers of its connection: they say where a message ends and whose it is. */
const ALWAYS_KEPT = new Set(['content-length', 'host'])

export interface Sender {
  /** IP address. */
  readonly address: string
  readonly hops: number
}

/** The headers of a request for whoever is asked next. */
export function forwardedHeaders(raw: RawHeaders, { address, hops }: Sender): string[] {
  const ofConnection = namedByConnection(raw)
  const headers: string[] = []
  const forwardedFor: string[] = []
  let hasHost = false
  let hasProto = false
  let host = ''
  let trailers = false
  for (let index = 0; index < raw.length; index += 2) {
    const [name = '', value = ''] = [raw[index], raw[index + 1]]
    const lower = name.toLowerCase()
    if (lower === 'x-forwarded-for') forwardedFor.push(value)
    else if (lower === 'host') host = value
    else if (lower === 'x-forwarded-host') hasHost = true
    else if (lower === 'x-forwarded-proto') hasProto = true
    else if (lower === 'te') trailers ||= /(?:^|,)\s*trailers\s*(?:,|$)/i.test(value)
    if (NOT_FORWARDED.has(lower) || ofConnection?.has(lower)) continue
    headers.push(name, value)
  }
  headers.push('X-Forwarded-For', [...forwardedFor, address].join(', '))
  if (!hasHost && host !== '') headers.push('X-Forwarded-Host', host)
  if (!hasProto) headers.push('X-Forwarded-Proto', 'http')
  if (trailers) headers.push('TE', 'trailers')
  if (hops > 0) headers.push(HOPS_HEADER, String(hops))
  return headers
}

/** The headers of an answer for the client, but for those called `without`, in lower case. */
export function returnedHeaders(raw: RawHeaders, without?: string): string[] {
  const ofConnection = namedByConnection(raw)
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const [name = '', value = ''] = [raw[index], raw[index + 1]]
    const lower = name.toLowerCase()
    if (NOT_RETURNED.has(lower) || lower === without || ofConnection?.has(lower)) continue
    headers.push(name, value)
  }
  return headers
}

function namedByConnection(raw: RawHeaders): Set<string> | undefined {
  let names: Set<string> | undefined
  for (let index = 0; index < raw.length; index += 2) {
    if (raw[index]?.toLowerCase() !== 'connection') continue
    for (const token of raw[index + 1]?.split(',') ?? []) {
      const name = token.trim().toLowerCase()
      if (name === '' || name === 'keep-alive' || name === 'close' || ALWAYS_KEPT.has(name)) continue
      names ??= new Set()
      names.add(name)
    }
  }
  return names
}

/** Whether a header is there, whatever its case. */
export function hasHeader(raw: RawHeaders, wanted: string): boolean {
  const lower = wanted.toLowerCase()
  return raw.some((name, index) => index % 2 === 0 && name.toLowerCase() === lower)
}
