/** What a request is to the proxy. */
export type RequestKind = 'passthrough' | 'health' | 'read' | 'write'

export interface PathRules {
  readonly passthrough: readonly string[]
  readonly alwaysForward: readonly string[]
}

export const HEALTH_PATH = '/litefs/health'

/** LiteFS' rules, in LiteFS' order. `target` is the request's, in origin form. */
export function kindOf(method: string, target: string, { passthrough, alwaysForward }: PathRules): RequestKind {
  const path = pathOf(target)
  if (passthrough.some((pattern) => matchesPattern(pattern, path))) return 'passthrough'
  if (method === 'GET' && path === HEALTH_PATH) return 'health'
  if (method !== 'GET' && method !== 'HEAD') return 'write'
  return alwaysForward.some((pattern) => matchesPattern(pattern, path)) ? 'write' : 'read'
}

/** The path alone, percent-decoded, as rules compare it; what is no escape stays as it is. */
export function pathOf(target: string): string {
  const [path = ''] = target.split(/[?#]/, 1)
  if (!path.includes('%')) return path
  const bytes = path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** An asterisk stands for anything, nothing included; the pattern is for the whole path. Takes time linear in the path for each asterisk. */
export function matchesPattern(pattern: string, path: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return path === pattern
  if (!path.startsWith(first)) return false
  let from = first.length
  for (const part of rest) {
    const found = path.indexOf(part, from)
    if (found === -1) return false
    from = found + part.length
  }
  return path.length - last.length >= from && path.endsWith(last)
}

/** The origin form of a request's target: an absolute one is what a client sends that takes this for its own proxy. Undefined for others. */
export function originForm(target: string, host: string | undefined): string | undefined {
  if (target.startsWith('/')) return target
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/is.exec(target)
  if (absolute === null || absolute[1] !== host) return undefined
  const rest = absolute[2] ?? ''
  return rest.startsWith('/') ? rest : `/${rest}`
}
