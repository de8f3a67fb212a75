/** As in LiteFS: how long a halt lock lasts after its holder was last heard of, milliseconds. */
export const HALT_TTL_MS = 30_000
/** Of an environment variable, for tests: another time, the same on all nodes. */
export const HALT_TTL_VARIABLE = 'LITEFS_HALT_TTL_MS'
/** What timers take. */
const MAX_TTL_MS = 2 ** 31 - 1

/** From the variable's text. Throws when that is no whole number of milliseconds. */
export function haltTtlMs(text: string | undefined): number {
  if (text === undefined || text === '') return HALT_TTL_MS
  const ttlMs = /^\d{1,10}$/.test(text) ? Number(text) : 0
  if (ttlMs >= 1 && ttlMs <= MAX_TTL_MS) return ttlMs
  const wrong = `${HALT_TTL_VARIABLE} is ${JSON.stringify(text.slice(0, 40))}`
  throw new Error(`Cannot start: ${wrong}, not milliseconds from 1 to ${MAX_TTL_MS} (remove it: it is for tests)`)
}
