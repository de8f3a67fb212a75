import type { IncomingMessage } from 'node:http'

/** Of the header Upgrade: `h2c` (RFC 7540, 3.2), its drafts, and HTTP with a version. */
const OTHER_HTTP = /(?:^|,)\s*(?:h2|http)/i

/**
 * Whether a request asks to go on in another version of HTTP. A server may leave that unheard (RFC 9110, 7.8); in a tunnel the proxy would not see
 * the requests that follow.
 */
export function asksForOtherHttp({ headers }: IncomingMessage): boolean {
  return OTHER_HTTP.test(headers.upgrade ?? '')
}

/** The beginning of a request as it came, up to the end of its headers, but for what it asks to go on in. */
export function withoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = rawHeaders.flatMap((name, index) => {
    return index % 2 === 0 && name.toLowerCase() !== 'upgrade' ? [`${name}: ${rawHeaders[index + 1]}`] : []
  })
  return Buffer.from([`${method} ${url} HTTP/${httpVersion}`, ...lines, '', ''].join('\r\n'), 'latin1')
}
