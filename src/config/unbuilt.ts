/** Keys and sections that are read and checked but have no effect yet. Shorten this when a feature arrives. */
const UNBUILT = [
  'strict-verify',
  'http.token',
  'http.token-file',
  'http.protect-metrics',
  'http.tls',
  'proxy',
  'lease.promote',
  'lease.demote-delay',
  'lease.allow-stale-promotion',
  'lease.consul',
  'lease.etcd',
  'backup',
]

/** Of the key paths that are in the file, those without effect, in the file's order. Sections themselves are left out. */
export function unbuiltKeys(paths: Iterable<string>): string[] {
  const used = [...paths].filter((path) => UNBUILT.some((key) => path === key || path.startsWith(`${key}.`)))
  const leaves = used.filter((path) => !used.some((other) => other.startsWith(`${path}.`)))
  return [...new Set(leaves.map((path) => path.replace(/\.\d+$/, '')))]
}

export interface Refusal {
  key: string
  message: string
}

const REMEDY = 'set lease.type: static, with candidate: true on the one node that writes'

/**
 * What must not start yet: a node that is told to share the lease, but would run as the primary on its own, could be the
 * second of two.
 */
export function refusals(type: unknown): Refusal[] {
  const refused: Refusal[] = []
  if (type === 'consul' || type === 'etcd') {
    refused.push({ key: 'lease.type', message: `"${type}" is not supported by this version: ${REMEDY}` })
  }
  return refused
}
