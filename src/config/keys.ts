import { z } from 'zod'
import { parseDuration } from './duration.js'
import { parseSize } from './size.js'

/*
 * The kinds of keys in configuration files. The `error` of each leaf says what is allowed; the loader puts the place and the value found in
 * front of it.
 */

const DURATION = 'a duration such as "10s", "1m30s" or "1.5h", not negative'

export function text(initial: string, description: string) {
  return z.string({ error: 'a text' }).prefault(initial).meta({ description })
}

export function flag(initial: boolean, description: string) {
  return z.boolean({ error: 'true or false' }).prefault(initial).meta({ description })
}

export function count(initial: number, description: string) {
  return z.int({ error: 'a whole number, not negative' }).min(0).prefault(initial).meta({ description })
}

export function texts(description: string) {
  return z
    .array(z.string({ error: 'a text' }), { error: 'a list of texts' })
    .prefault([])
    .meta({ description })
}

function milliseconds() {
  return z.string({ error: DURATION }).transform((value, context) => {
    const ms = parseDuration(value)
    if (ms !== undefined && ms >= 0) return ms
    context.issues.push({ code: 'custom', message: DURATION, input: value })
    return z.NEVER
  })
}

/** The file has Go's notation; the configuration has milliseconds. */
export function duration(initial: string, description: string) {
  return milliseconds().prefault(initial).meta({ description })
}

/** The same where something else says what counts when it is left out. */
export function optionalDuration(description: string) {
  return milliseconds().optional().meta({ description })
}

const SIZE = 'a size such as "5MiB", not below that'
/** S3's least size of a part, bytes. */
const MIN_PART_SIZE = 5 << 20

/** The file has a text; the configuration has bytes. */
export function partSize(initial: string, description: string) {
  return z
    .string({ error: SIZE })
    .transform((value, context) => {
      const bytes = parseSize(value)
      if (bytes !== undefined && bytes >= MIN_PART_SIZE) return bytes
      context.issues.push({ code: 'custom', message: SIZE, input: value })
      return z.NEVER
    })
    .prefault(initial)
    .meta({ description })
}

/** One of a few words; `initial` undefined makes the key required. */
export function choice<const Word extends string>(words: readonly Word[], description: string) {
  const allowed = words.map((word) => JSON.stringify(word)).join(' or ')
  return z.enum(words, { error: allowed }).meta({ description })
}

export function section<const Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, { error: 'a section with keys' })
}
