import type { Contradiction } from './contradictions.js'
import { isListenAddress, LISTEN_ADDRESS } from './listen-address.js'
import { textAt, valueAt } from './values.js'

/** Of a token: letters that go into a header as they are, and enough of them. */
const TOKEN = /^[\x21-\x7e]{16,4096}$/
export const TOKEN_RULE = 'a token of 16 letters or more without blanks, such as `openssl rand -hex 32` prints'

export function isToken(text: string): boolean {
  return TOKEN.test(text)
}

/** Rules for where and how the API is called, and who may: `http.addr`, `http.token`, `http.tls`, and the certificates for lease stores. */
export function accessProblems(values: unknown): Contradiction[] {
  const http = valueAt(values, 'http')
  const found: Contradiction[] = []
  const addr = valueAt(http, 'addr')
  if (typeof addr === 'string' && !isListenAddress(addr)) {
    found.push({ key: 'http.addr', message: `found ${JSON.stringify(addr)}, allowed: ${LISTEN_ADDRESS}` })
  }
  const token = textAt(http, 'token')
  if (token !== '' && !isToken(token)) {
    found.push({ key: 'http.token', message: `found something else, allowed: ${TOKEN_RULE}` })
  }
  if (token !== '' && textAt(http, 'token-file') !== '') {
    found.push({ key: 'http.token-file', message: 'found a file beside http.token, allowed: one of the two' })
  }
  for (const section of ['http.tls', 'lease.consul.tls', 'lease.etcd.tls']) {
    found.push(...pairProblems(section, valueAt(values, ...section.split('.'))))
  }
  return [...found, ...serverProblems(values)]
}

function pairProblems(section: string, tls: unknown): Contradiction[] {
  const given = ['cert', 'key'].filter((name) => textAt(tls, name) !== '')
  if (given.length !== 1) return []
  const missing = given[0] === 'cert' ? 'key' : 'cert'
  return [
    { key: `${section}.${missing}`, message: `found nothing, allowed: a file, since ${section}.${given[0]} is set` },
  ]
}

function serverProblems(values: unknown): Contradiction[] {
  const tls = valueAt(values, 'http', 'tls')
  const lease = valueAt(values, 'lease')
  const found: Contradiction[] = []
  if (valueAt(tls, 'client-auth') === true && (textAt(tls, 'ca') === '' || textAt(tls, 'cert') === '')) {
    const message = 'found true, allowed with http.tls.cert, key and ca, which says whose certificates are good'
    found.push({ key: 'http.tls.client-auth', message })
  }
  const follows = textAt(lease, 'type') === 'static' && valueAt(lease, 'candidate') === false
  const advertised = textAt(lease, 'advertise-url')
  if (!follows && textAt(tls, 'cert') !== '' && advertised.startsWith('http:')) {
    const message = 'found an address that begins with http:, allowed: one with https:, since http.tls is set'
    found.push({ key: 'lease.advertise-url', message })
  }
  return found
}
