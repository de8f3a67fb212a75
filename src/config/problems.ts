/** One thing wrong with a configuration file. Lines and columns count from 1. */
export interface Problem {
  file: string
  line: number
  column: number
  /** Dotted path of the key, empty for a syntax error. */
  key: string
  /** What is wrong: the value found and what is allowed in its place. */
  message: string
}

/** The configuration cannot be used. Carries every problem found, so that one edit can settle them all. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[]

  constructor(message: string, problems: readonly Problem[], options?: ErrorOptions) {
    super([message, ...problems.map(formatProblem)].join('\n  '), options)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** `FILE:LINE:COLUMN: KEY: MESSAGE`, the form editors and terminals make clickable. */
export function formatProblem({ file, line, column, key, message }: Problem): string {
  return `${file}:${line}:${column}: ${key === '' ? '' : `${key}: `}${message}`
}

/** The candidate a typing error most likely meant, or undefined when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const spelled = kebab(word)
  const limit = Math.max(1, Math.floor(spelled.length / 3))
  let best: string | undefined
  let bestDistance = limit + 1
  for (const candidate of candidates) {
    const distance = editDistance(spelled, candidate)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Keys are lower case with dashes; `allowOther` and `allow_other` are the usual slips. */
function kebab(word: string): string {
  return word
    .slice(0, 64)
    .replace(/([a-z])([A-Z])/g, '$1-$2')
    .replace(/_/g, '-')
    .toLowerCase()
}

/** Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a`. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)]
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= b.length; j++) {
      const substituted = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swaps = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      row.push(Math.min(substituted, at(i - 1, j) + 1, at(i, j - 1) + 1, swaps ? at(i - 2, j - 2) + 1 : Infinity))
    }
  }
  return at(a.length, b.length)
}
