/** Nanoseconds per unit, as Go's time.ParseDuration spells them (both code points of the micro sign). */
const UNIT_NS: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
}

const TERM = /(?=[\d.])(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)/y

/** Go keeps a duration in an int64 of nanoseconds. */
const MAX_NS = 2n ** 63n - 1n

/**
 * Reads a duration in Go's grammar (`10s`, `1h30m`, `1.5h`, `-100ms`, `0`) and returns milliseconds, with a fraction
 * down to nanoseconds. Returns undefined for anything else, a bare number included.
 */
export function parseDuration(text: string): number | undefined {
  const negative = text.startsWith('-')
  const terms = text.replace(/^[+-]/, '')
  if (terms === '0') return 0
  if (terms === '') return undefined
  let ns = 0n
  let offset = 0
  while (offset < terms.length) {
    TERM.lastIndex = offset
    const match = TERM.exec(terms)
    if (match === null) return undefined
    const [term, whole = '', fraction = '', unit = ''] = match
    const unitNs = UNIT_NS[unit]
    if (unitNs === undefined || whole + fraction === '') return undefined
    // A fraction goes through floating point in Go as well: 0.3333333333333333333h is 20m.
    const fractionNs = Math.trunc(Number(fraction) * (Number(unitNs) / 10 ** fraction.length))
    ns += BigInt(whole) * unitNs + BigInt(fractionNs)
    if (ns > (negative ? MAX_NS + 1n : MAX_NS)) return undefined
    offset += term.length
  }
  return (Number(ns) / 1e6) * (negative ? -1 : 1)
}
