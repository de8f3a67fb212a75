/** Names and values in turn, as node:http has them: latin1, in the order and spelling of the sender. */
export type RawHeaders = readonly string[]

/** How many proxies of this kind have handed a request on. */
export const HOPS_HEADER = 'Litefs-Proxy-Hops'
/** That such a proxy is one of this cluster's: see Peers. */
export const KEY_HEADER = 'Litefs-Proxy-Key'
/** In the answer of a proxy that has not let the application see the request: it can be sent again. */
export const UNPROCESSED_HEADER = 'Litefs-Unprocessed'

/** They are about one connection (RFC 9110, 7.6.1). */
const OF_CONNECTION = ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade']
const OF_PROXIES = [HOPS_HEADER, KEY_HEADER].map((name) => name.toLowerCase())
const NOT_FORWARDED = new Set([...OF_CONNECTION, ...OF_PROXIES, 'expect', 'trailer', 'x-forwarded-for'])
const NOT_RETURNED = new Set([...OF_CONNECTION, UNPROCESSED_HEADER.toLowerCase()])
/** No sender can have them dropped by calling them headers of its connection: they say where a message ends and whose it is. */
const ALWAYS_KEPT = new Set(['content-length', 'host'])

export interface Sender {
  /** IP address. */
  readonly address: string
  readonly protocol: 'http' | 'https'
}

/** What a proxy tells the next one. */
export interface Handing {
  /** Proxies that have handed the request on, this one included. */
  readonly hops: number
  readonly key: string | undefined
}

/** The headers of a request for whoever is asked next: another proxy, or the application, which `handing` is not for. */
export function forwardedHeaders(raw: RawHeaders, { address, protocol }: Sender, handing?: Handing): string[] {
  const ofConnection = namedByConnection(raw)
  const headers: string[] = []
  const forwardedFor: string[] = []
  let hasHost = false
  let hasProto = false
  let host = ''
  let trailers = false
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
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
  if (!hasProto) headers.push('X-Forwarded-Proto', protocol)
  if (trailers) headers.push('TE', 'trailers')
  if (handing === undefined) return headers
  headers.push(HOPS_HEADER, String(handing.hops))
  if (handing.key !== undefined) headers.push(KEY_HEADER, handing.key)
  return headers
}

/** The headers of an answer for the client, but for those called `without`, in lower case. */
export function returnedHeaders(raw: RawHeaders, without?: string): string[] {
  const ofConnection = namedByConnection(raw)
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
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

/** Names and values in turn as node:http takes trailers. */
export function inPairs(flat: RawHeaders): [string, string][] {
  return flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? '']] : []))
}
