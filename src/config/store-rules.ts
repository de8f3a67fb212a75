import type { Contradiction } from './contradictions.js'
import { parseDuration } from './duration.js'
import { textAt, valueAt } from './values.js'

/** Consul's longest session, and more than anybody waits for a new primary. */
const MAX_TTL_MS = 24 * 3_600_000
/** Consul's longest. */
const MAX_LOCK_DELAY_MS = 60_000
const TTL = 'a duration from 1s to 24h'

/** What the chosen lease store needs: rules for `lease.consul` or `lease.etcd`. Messages never hold an address, which can have a token in it. */
export function storeProblems(values: unknown): Contradiction[] {
  const type = textAt(values, 'lease', 'type')
  if (type === 'consul') return consulProblems(valueAt(values, 'lease', 'consul'))
  if (type === 'etcd') return etcdProblems(valueAt(values, 'lease', 'etcd'))
  return []
}

function consulProblems(consul: unknown): Contradiction[] {
  const found: Contradiction[] = []
  const url = textAt(consul, 'url')
  if (!isHttp(url)) {
    const what = url === '' ? 'nothing' : 'no address'
    const message = `found ${what}, allowed: the address of the Consul agent, as in http://localhost:8500`
    found.push({ key: 'lease.consul.url', message })
  }
  found.push(...keyProblems('lease.consul', consul), ...ttlProblems('lease.consul', consul))
  const lockDelayMs = parseDuration(textAt(consul, 'lock-delay') || '0')
  if (lockDelayMs !== undefined && lockDelayMs > MAX_LOCK_DELAY_MS) {
    found.push({ key: 'lease.consul.lock-delay', message: 'found more than Consul takes, allowed: at most 60s' })
  }
  return found
}

function etcdProblems(etcd: unknown): Contradiction[] {
  const found: Contradiction[] = []
  const list = valueAt(etcd, 'endpoints')
  const endpoints: unknown[] = Array.isArray(list) ? list : []
  if (endpoints.length === 0) {
    const message = 'found nothing, allowed: the addresses of the etcd servers, as in [http://etcd-1:2379]'
    found.push({ key: 'lease.etcd.endpoints', message })
  }
  for (const [index, endpoint] of endpoints.entries()) {
    if (typeof endpoint === 'string' && isOrigin(endpoint)) continue
    const message = 'found no address of a server, allowed: http or https, host and port, as in http://etcd-1:2379'
    found.push({ key: `lease.etcd.endpoints.${index}`, message })
  }
  found.push(...keyProblems('lease.etcd', etcd), ...ttlProblems('lease.etcd', etcd))
  if (textAt(etcd, 'password') !== '' && textAt(etcd, 'username') === '') {
    found.push({ key: 'lease.etcd.password', message: 'found a password for nobody, allowed with lease.etcd.username' })
  }
  return found
}

function keyProblems(section: string, values: unknown): Contradiction[] {
  const key = textAt(values, 'key')
  if (key !== '' && !/^\/|\/$|\/\//.test(key)) return []
  const found = key === '' ? 'nothing' : JSON.stringify(key)
  const message = `found ${found}, allowed: a key such as litefs/primary, which neither begins nor ends with a slash`
  return [{ key: `${section}.key`, message }]
}

function ttlProblems(section: string, values: unknown): Contradiction[] {
  const text = textAt(values, 'ttl')
  const ttlMs = parseDuration(text)
  // What is no duration at all is found elsewhere.
  if (ttlMs === undefined || (ttlMs >= 1000 && ttlMs <= MAX_TTL_MS)) return []
  return [{ key: `${section}.ttl`, message: `found ${JSON.stringify(text)}, allowed: ${TTL}` }]
}

function isHttp(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

function isOrigin(text: string): boolean {
  if (!isHttp(text)) return false
  const { pathname, search, hash, username, password } = new URL(text)
  return pathname === '/' && `${search}${hash}${username}${password}` === ''
}
